import { add } from "../kernels/elementwise.ts";
import { embedding, embeddingPlan } from "../kernels/embedding.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { packSequences } from "../kernels/sequences.ts";
import { ClipEncoder, clipEncoderSpecs, layerNormSpecs } from "./clip_encoder.ts";
import type { ClipTextConfig } from "./clip_config.ts";
import { type Initial, parameter, type Parameters, type ParameterSpec } from "./parameters.ts";

/** Draws with a standard deviation. */
const spread = (deviation: number): Initial => ({ uniform: deviation * Math.sqrt(3) });

/** The parameters of a CLIP text tower, named as Hugging Face names them. */
export function clipTextSpecs(config: ClipTextConfig): ParameterSpec[] {
  const { hidden_size: width, vocab_size, max_position_embeddings } = config;
  const at = "text_model.embeddings";
  return [
    parameter(`${at}.token_embedding.weight`, [vocab_size, width], spread(0.02)),
    parameter(`${at}.position_embedding.weight`, [max_position_embeddings, width], spread(0.01)),
    ...clipEncoderSpecs("text_model", config),
    ...layerNormSpecs("text_model.final_layer_norm", width),
  ];
}

/** The text tower of CLIP: a causal transformer, whose vector of a text is that of its last token. */
export class ClipText {
  /** Shape and constants. */
  readonly config: ClipTextConfig;
  readonly #gpu: Gpu;
  readonly #parameters: Parameters;
  readonly #encoder: ClipEncoder;

  /** The tower over parameters that hold `clipTextSpecs(config)`. */
  constructor(gpu: Gpu, config: ClipTextConfig, parameters: Parameters) {
    this.config = config;
    this.#gpu = gpu;
    this.#parameters = parameters;
    this.#encoder = new ClipEncoder("text_model", config, parameters, { causal: true });
  }

  /**
   * Encodes texts as one vector each: the last token's after the last norm.
   *
   * @param ids Token ids of all texts one after the other, each with the tokens that begin and end it.
   * @param lengths Tokens of each text.
   * @returns [texts, width]
   * @throws {ShapeError} for a text longer than the tower's positions.
   */
  embed(ids: Uint32Array<ArrayBuffer>, lengths: readonly number[]): Tensor {
    const { max_position_embeddings: most } = this.config;
    const long = lengths.find((length) => length > most);
    if (long !== undefined) {
      throw new ShapeError(`A text has ${long} tokens, but the tower has ${most} positions.`);
    }
    const gpu = this.#gpu;
    using scope = gpu.scope();
    const places = lengths.flatMap((length) => Array.from({ length }, (_, i) => i));
    const ends: number[] = [];
    for (const length of lengths) ends.push((ends.at(-1) ?? -1) + length);
    const look = (name: string, rows: Uint32Array<ArrayBuffer>) => {
      const table = this.#parameters.get(`text_model.embeddings.${name}.weight`);
      return embedding(table, embeddingPlan(gpu, rows, table));
    };
    const embedded = add(
      look("token_embedding", ids),
      look("position_embedding", Uint32Array.from(places)),
    );
    const last = gpu.tensor(Uint32Array.from(ends), [ends.length]);
    const h = this.#encoder.forward(embedded, packSequences(gpu, lengths), last);
    return scope.keep(this.#encoder.norm(h, "text_model.final_layer_norm"));
  }
}
