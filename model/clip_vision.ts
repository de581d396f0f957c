import { linear } from "../kernels/matmul.ts";
import { clipEmbeddings, patchify } from "../kernels/patches.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { packSequences } from "../kernels/sequences.ts";
import { ClipEncoder, clipEncoderSpecs, layerNormSpecs } from "./clip_encoder.ts";
import { type ClipVisionConfig, patchCount } from "./config.ts";
import { linearInitial, parameter, type Parameters, type ParameterSpec } from "./parameters.ts";

/** The parameters of a CLIP vision tower, named as Hugging Face names them (its `pre_layrnorm` included). */
export function clipVisionSpecs(config: ClipVisionConfig): ParameterSpec[] {
  const { hidden_size: width, patch_size: patch } = config;
  const pixels = 3 * patch * patch;
  const at = "vision_model.embeddings";
  const kernel = { name: `${at}.patch_embedding.weight`, shape: [width, 3, patch, patch] };
  return [
    parameter(`${at}.class_embedding`, [width], linearInitial(width)),
    {
      name: kernel.name,
      shape: [width, pixels],
      operand: true,
      parts: [{ ...kernel, initial: linearInitial(pixels) }],
    },
    parameter(`${at}.position_embedding.weight`, [patchCount(config) + 1, width], { uniform: 0.3 }),
    ...layerNormSpecs("vision_model.pre_layrnorm", width),
    ...clipEncoderSpecs("vision_model", config),
    ...layerNormSpecs("vision_model.post_layernorm", width),
  ];
}

/** Pictures for which the kernels are chosen, however many there are, so that a picture's features are always the same. */
export const PICTURES = 16;

/** The vision tower of CLIP: a ViT over patches with a class token in front. */
export class ClipVision {
  /** Shape and constants. */
  readonly config: ClipVisionConfig;
  readonly #parameters: Parameters;
  readonly #encoder: ClipEncoder;

  /** The tower over parameters that hold `clipVisionSpecs(config)`. */
  constructor(config: ClipVisionConfig, parameters: Parameters) {
    this.config = config;
    this.#parameters = parameters;
    this.#encoder = new ClipEncoder("vision_model", config, parameters, {
      causal: false,
      chosenFor: PICTURES * (patchCount(config) + 1),
    });
  }

  /**
   * Encodes pictures. The features of one do not depend on the others, to the last bit.
   *
   * @param pixels Normalised pictures [N, 3, size, size].
   * @returns The last hidden state [N · (1 + patches), width]: per picture the class token, then the patches.
   */
  forward(pixels: Tensor): Tensor {
    return this.#run(pixels);
  }

  /**
   * Encodes pictures as one vector each: the class token after the last norm. What only the patches' last hidden state
   * needs is not computed.
   *
   * @param pixels Normalised pictures [N, 3, size, size].
   * @returns [N, width]
   */
  embed(pixels: Tensor): Tensor {
    using scope = pixels.gpu.scope();
    const first = this.#run(pixels, this.#classRows(pixels.gpu, pixels.shape[0]!));
    return scope.keep(this.#encoder.norm(first, "vision_model.post_layernorm"));
  }

  /** The pooled output of a last hidden state: the class tokens after the last norm [N, width]. */
  pool(hidden: Tensor): Tensor {
    using scope = hidden.gpu.scope();
    const count = hidden.rows / (patchCount(this.config) + 1);
    const first = gatherRows(hidden, this.#classRows(hidden.gpu, count));
    return scope.keep(this.#encoder.norm(first, "vision_model.post_layernorm"));
  }

  #run(pixels: Tensor, rows?: Tensor): Tensor {
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
    const h = this.#encoder.norm(embedded, "vision_model.pre_layrnorm");
    return scope.keep(this.#encoder.forward(h, sequences, rows));
  }

  #classRows(gpu: Gpu, count: number): Tensor {
    const tokens = patchCount(this.config) + 1;
    return gpu.tensor(Uint32Array.from({ length: count }, (_, i) => i * tokens), [count]);
  }
}
