import { attention } from "../kernels/attention.ts";
import { checkpoint } from "../kernels/checkpoint.ts";
import { layerNorm } from "../kernels/layer_norm.ts";
import { linear, type LinearOptions } from "../kernels/matmul.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Sequences } from "../kernels/sequences.ts";
import type { ClipEncoderConfig } from "./config.ts";
import {
  type Initial,
  linearWeight,
  parameter,
  type Parameters,
  type ParameterSpec,
} from "./parameters.ts";

/** The parameters of a layer norm. */
export function layerNormSpecs(name: string, width: number): ParameterSpec[] {
  return [
    parameter(`${name}.weight`, [width], { constant: 1 }),
    parameter(`${name}.bias`, [width], { constant: 0 }),
  ];
}

/** The parameters of the blocks of one of CLIP's towers, named as Hugging Face names them. */
export function clipEncoderSpecs(tower: string, config: ClipEncoderConfig): ParameterSpec[] {
  const { hidden_size: width, intermediate_size: inner } = config;
  const uniform: Initial = { uniform: 1 / Math.sqrt(width) };
  const zero: Initial = { constant: 0 };
  const dense = (name: string, outputs: number, inputs: number): ParameterSpec[] => [
    linearWeight(`${name}.weight`, outputs, inputs),
    parameter(`${name}.bias`, [outputs], zero),
  ];
  return Array.from({ length: config.num_hidden_layers }, (_, layer) => {
    const block = `${tower}.encoder.layers.${layer}`;
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
    return [
      ...layerNormSpecs(`${block}.layer_norm1`, width),
      qkv("weight", [width, width], uniform),
      qkv("bias", [width], zero),
      ...dense(`${block}.self_attn.out_proj`, width, width),
      ...layerNormSpecs(`${block}.layer_norm2`, width),
      ...dense(`${block}.mlp.fc1`, inner, width),
      ...dense(`${block}.mlp.fc2`, width, inner),
    ];
  }).flat();
}

/** How a tower's blocks run. */
export interface ClipEncoderOptions {
  /** Whether a row sees only itself and the rows before it. */
  readonly causal: boolean;
  /** Rows for which the kernels are chosen; those at hand unless given. */
  readonly chosenFor?: number;
}

/** The blocks of one of CLIP's towers: attention and an MLP, each behind a layer norm and around a residual. */
export class ClipEncoder {
  readonly #tower: string;
  readonly #config: ClipEncoderConfig;
  readonly #parameters: Parameters;
  readonly #options: ClipEncoderOptions;

  /** The blocks of `tower` over parameters that hold `clipEncoderSpecs(tower, config)`. */
  constructor(
    tower: string,
    config: ClipEncoderConfig,
    parameters: Parameters,
    options: ClipEncoderOptions,
  ) {
    this.#tower = tower;
    this.#config = config;
    this.#parameters = parameters;
    this.#options = options;
  }

  /**
   * Runs the blocks.
   *
   * @param x Rows [T, width].
   * @param sequences How they divide.
   * @param rows The rows whose output is wanted, uint32 [R]; all unless given. What only the others need is not computed.
   * @returns [T, width] or [R, width]
   */
  forward(x: Tensor, sequences: Sequences, rows?: Tensor): Tensor {
    const { num_hidden_layers } = this.#config;
    const { gpu } = x;
    using scope = gpu.scope();
    let h = x;
    for (let layer = 0; layer < num_hidden_layers; layer++) {
      const input = h;
      const wanted = layer === num_hidden_layers - 1 ? rows : undefined;
      const reads = [input, ...sequences.tensors, ...wanted ? [wanted] : []];
      [h] = checkpoint(gpu, reads, () => [this.#block(input, layer, sequences, wanted)] as const);
      if (layer > 0) scope.release(input).dispose();
    }
    return scope.keep(h);
  }

  #block(x: Tensor, layer: number, sequences: Sequences, rows?: Tensor): Tensor {
    const { num_attention_heads: heads, hidden_size, hidden_act } = this.#config;
    const { causal } = this.#options;
    const block = `${this.#tower}.encoder.layers.${layer}`;
    const shape = { heads, kvHeads: heads, headDim: hidden_size / heads, causal };
    using scope = x.gpu.scope();
    const qkv = this.#linear(this.norm(x, `${block}.layer_norm1`), `${block}.self_attn.qkv_proj`);
    let attended = attention(qkv, sequences, shape);
    if (rows) [attended, x] = [gatherRows(attended, rows), gatherRows(x, rows)];
    const h = this.#linear(attended, `${block}.self_attn.out_proj`, { residual: x });
    const up = this.#linear(this.norm(h, `${block}.layer_norm2`), `${block}.mlp.fc1`, {
      activation: hidden_act,
    });
    return scope.keep(this.#linear(up, `${block}.mlp.fc2`, { residual: h }));
  }

  /** A layer norm by its name. */
  norm(x: Tensor, name: string): Tensor {
    const weight = this.#parameters.get(`${name}.weight`);
    return layerNorm(x, weight, this.#parameters.get(`${name}.bias`), this.#config.layer_norm_eps);
  }

  #linear(x: Tensor, name: string, options?: LinearOptions): Tensor {
    const { chosenFor } = this.#options;
    return linear(x, this.#parameters.get(`${name}.weight`), {
      bias: this.#parameters.get(`${name}.bias`),
      ...chosenFor !== undefined && { chosenFor },
      ...options,
    });
  }
}
