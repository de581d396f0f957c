import { activation } from "../kernels/activation.ts";
import { attention } from "../kernels/attention.ts";
import { checkpoint } from "../kernels/checkpoint.ts";
import { layerNorm } from "../kernels/layer_norm.ts";
import { linear } from "../kernels/matmul.ts";
import { clipEmbeddings, patchify } from "../kernels/patches.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { packSequences, type Sequences } from "../kernels/sequences.ts";
import { type ClipVisionConfig, patchCount } from "./config.ts";
import {
  type Initial,
  linearWeight,
  parameter,
  type Parameters,
  type ParameterSpec,
} from "./parameters.ts";

const ONE: Initial = { constant: 1 };
const ZERO: Initial = { constant: 0 };

/** The parameters of a CLIP vision tower, named as Hugging Face names them (its `pre_layrnorm` included). */
export function clipVisionSpecs(config: ClipVisionConfig): ParameterSpec[] {
  const { hidden_size: width, intermediate_size: inner, patch_size: patch } = config;
  const pixels = 3 * patch * patch;
  const uniform = (inputs: number): Initial => ({ uniform: 1 / Math.sqrt(inputs) });
  const norm = (name: string): ParameterSpec[] => [
    parameter(`${name}.weight`, [width], ONE),
    parameter(`${name}.bias`, [width], ZERO),
  ];
  const dense = (name: string, outputs: number, inputs: number): ParameterSpec[] => [
    linearWeight(`${name}.weight`, outputs, inputs),
    parameter(`${name}.bias`, [outputs], ZERO),
  ];
  const at = "vision_model.embeddings";
  const kernel = { name: `${at}.patch_embedding.weight`, shape: [width, 3, patch, patch] };
  const specs: ParameterSpec[] = [
    parameter(`${at}.class_embedding`, [width], uniform(width)),
    {
      name: kernel.name,
      shape: [width, pixels],
      operand: true,
      parts: [{ ...kernel, initial: uniform(pixels) }],
    },
    parameter(`${at}.position_embedding.weight`, [patchCount(config) + 1, width], { uniform: 0.3 }),
    ...norm("vision_model.pre_layrnorm"),
  ];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const block = `vision_model.encoder.layers.${layer}`;
    const qkv = (
      kind: "weight" | "bias",
      shape: readonly number[],
      initial: Initial,
    ): ParameterSpec => ({
      name: `${block}.self_attn.qkv_proj.${kind}`,
      shape: [3 * width, ...shape.slice(1)],
      operand: kind === "weight",
      parts: ["q", "k", "v"].map((p) => ({
        name: `${block}.self_attn.${p}_proj.${kind}`,
        shape,
        initial,
      })),
    });
    specs.push(
      ...norm(`${block}.layer_norm1`),
      qkv("weight", [width, width], uniform(width)),
      qkv("bias", [width], ZERO),
      ...dense(`${block}.self_attn.out_proj`, width, width),
      ...norm(`${block}.layer_norm2`),
      ...dense(`${block}.mlp.fc1`, inner, width),
      ...dense(`${block}.mlp.fc2`, width, inner),
    );
  }
  specs.push(...norm("vision_model.post_layernorm"));
  return specs;
}

/** Pictures for which the kernels are chosen, however many there are, so that a picture's features are always the same. */
const PICTURES = 16;

/** The vision tower of CLIP: a ViT over patches with a class token in front. */
export class ClipVision {
  /** Shape and constants. */
  readonly config: ClipVisionConfig;
  readonly #parameters: Parameters;

  /** The tower over parameters that hold `clipVisionSpecs(config)`. */
  constructor(config: ClipVisionConfig, parameters: Parameters) {
    this.config = config;
    this.#parameters = parameters;
  }

  /**
   * Encodes pictures. The features of one do not depend on the others, to the last bit.
   *
   * @param pixels Normalised pictures [N, 3, size, size].
   * @returns The last hidden state [N · (1 + patches), width]: per picture the class token, then the patches.
   */
  forward(pixels: Tensor): Tensor {
    const { config } = this;
    const { gpu } = pixels;
    const count = pixels.shape[0]!;
    using scope = gpu.scope();
    const sequences = packSequences(gpu, Array(count).fill(patchCount(config) + 1));
    const at = "vision_model.embeddings";
    const patches = linear(
      patchify(pixels, config.patch_size),
      this.#parameters.get(`${at}.patch_embedding.weight`),
      { chosenFor: PICTURES * patchCount(config) },
    );
    const embedded = clipEmbeddings(
      patches,
      this.#parameters.get(`${at}.class_embedding`),
      this.#parameters.get(`${at}.position_embedding.weight`),
    );
    let h = this.#norm(embedded, "vision_model.pre_layrnorm");
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const input = h;
      const reads = [input, sequences.positions, sequences.tiles];
      [h] = checkpoint(gpu, reads, () => [this.#block(input, layer, sequences)] as const);
      scope.release(input).dispose();
    }
    return scope.keep(h);
  }

  /** The pooled output of a last hidden state: the class tokens after the last norm [N, width]. */
  pool(hidden: Tensor): Tensor {
    const { gpu } = hidden;
    const tokens = patchCount(this.config) + 1;
    using scope = gpu.scope();
    const rows = Uint32Array.from({ length: hidden.rows / tokens }, (_, i) => i * tokens);
    const first = gatherRows(hidden, gpu.tensor(rows, [rows.length]));
    return scope.keep(this.#norm(first, "vision_model.post_layernorm"));
  }

  #block(x: Tensor, layer: number, sequences: Sequences): Tensor {
    const { config } = this;
    const block = `vision_model.encoder.layers.${layer}`;
    const heads = config.num_attention_heads;
    const shape = { heads, kvHeads: heads, headDim: config.hidden_size / heads, causal: false };
    using scope = x.gpu.scope();
    const qkv = this.#linear(this.#norm(x, `${block}.layer_norm1`), `${block}.self_attn.qkv_proj`);
    const attended = attention(qkv, sequences, shape);
    const h = this.#linear(attended, `${block}.self_attn.out_proj`, x);
    const up = this.#linear(this.#norm(h, `${block}.layer_norm2`), `${block}.mlp.fc1`);
    return scope.keep(this.#linear(activation(up, config.hidden_act), `${block}.mlp.fc2`, h));
  }

  #norm(x: Tensor, name: string): Tensor {
    const weight = this.#parameters.get(`${name}.weight`);
    return layerNorm(x, weight, this.#parameters.get(`${name}.bias`), this.config.layer_norm_eps);
  }

  #linear(x: Tensor, name: string, residual?: Tensor): Tensor {
    const bias = this.#parameters.get(`${name}.bias`);
    return linear(x, this.#parameters.get(`${name}.weight`), {
      bias,
      chosenFor: PICTURES * (patchCount(this.config) + 1),
      ...(residual && { residual }),
    });
  }
}
