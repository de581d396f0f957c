import { contrastiveLoss } from "../kernels/contrastive.ts";
import { elementwise } from "../kernels/elementwise.ts";
import { linear } from "../kernels/matmul.ts";
import { normalizeRows } from "../kernels/normalize_rows.ts";
import { normalizePixels, type Rgb } from "../kernels/patches.ts";
import { concatRows } from "../kernels/rows.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Batch } from "./batch.ts";
import { type ClipConfig, INITIAL_LOGIT_SCALE } from "./clip_config.ts";
import { ClipText, clipTextSpecs } from "./clip_text.ts";
import { ClipVision, clipVisionSpecs } from "./clip_vision.ts";
import { linearWeight, type ParameterGroup, Parameters, type ParameterSpec } from "./parameters.ts";
import type { Trainable } from "./trainable.ts";
import { words } from "./bytes.ts";

/** The largest logit scale: the temperature stays above 1 / 100. */
const MOST_LOGIT_SCALE = Math.log(100);

/** All parameters of a CLIP model, named as Hugging Face names them. */
export function clipSpecs({ vision, text, projection_dim }: ClipConfig): ParameterSpec[] {
  const initial = { constant: INITIAL_LOGIT_SCALE };
  return [
    ...clipVisionSpecs(vision),
    ...clipTextSpecs(text),
    linearWeight("visual_projection.weight", projection_dim, vision.hidden_size),
    linearWeight("text_projection.weight", projection_dim, text.hidden_size),
    { name: "logit_scale", shape: [1], parts: [{ name: "logit_scale", shape: [], initial }] },
  ];
}

/** What a CLIP model is made with. */
export interface ClipOptions {
  /** Mean of each colour, of pixels in 0…1. */
  readonly imageMean: Rgb;
  /** Standard deviation of each colour. */
  readonly imageStd: Rgb;
  /** In which group a parameter trains, or nothing when it is frozen; nothing trains unless given. */
  readonly train?: ((spec: ParameterSpec) => string | undefined) | undefined;
  /** To what the operands of matrix products are rounded; float32 unless given. */
  readonly precision?: Precision | undefined;
  /** Pairs that go through the towers at once while training; all of a batch unless given. */
  readonly microBatch?: number | undefined;
}

/**
 * CLIP: a vision tower and a text tower that put pictures and texts into one space, where what belongs together is close.
 *
 * Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
 */
export class Clip implements Trainable, Disposable {
  /** The device it lives on. */
  readonly gpu: Gpu;
  /** Shapes and constants. */
  readonly config: ClipConfig;
  /** All its parameters. */
  readonly parameters: Parameters;
  readonly #options: ClipOptions;
  readonly #vision: ClipVision;
  readonly #text: ClipText;

  /** Allocates a model with undefined weights; initialise or load `parameters` next. */
  constructor(gpu: Gpu, config: ClipConfig, options: ClipOptions) {
    const { train, precision } = options;
    this.gpu = gpu;
    this.config = config;
    this.parameters = new Parameters(gpu, clipSpecs(config), {
      train,
      precision,
      saved: "float32",
    });
    this.#options = options;
    this.#vision = new ClipVision(config.vision, this.parameters);
    this.#text = new ClipText(gpu, config.text, this.parameters);
  }

  /** The one set of parameters. */
  get parameterSets(): readonly Parameters[] {
    return [this.parameters];
  }

  /** All groups of parameters that train. */
  get groups(): readonly ParameterGroup[] {
    return this.parameters.groups;
  }

  /**
   * Vectors of pictures, of length 1.
   *
   * @param pictures Bytes [count, 3, size, size], resized and cropped.
   * @returns [count, projection_dim]
   */
  encodePictures(pictures: Uint8Array<ArrayBuffer>, count: number): Tensor {
    const { image_size: size } = this.config.vision;
    const { imageMean, imageStd } = this.#options;
    using scope = this.gpu.scope();
    const bytes = this.gpu.tensor(words(pictures), [pictures.length / 4], "pictures");
    const pixels = normalizePixels(bytes, [count, 3, size, size], imageMean, imageStd);
    const pooled = this.#vision.embed(pixels);
    return scope.keep(normalizeRows(this.#project(pooled, "visual_projection")));
  }

  /**
   * Vectors of texts, of length 1.
   *
   * @param ids Token ids of all texts one after the other, each with the tokens that begin and end it.
   * @param lengths Tokens of each text.
   * @returns [texts, projection_dim]
   */
  encodeTexts(ids: Uint32Array<ArrayBuffer>, lengths: readonly number[]): Tensor {
    using scope = this.gpu.scope();
    const pooled = this.#text.embed(ids, lengths);
    return scope.keep(normalizeRows(this.#project(pooled, "text_projection")));
  }

  /**
   * The vectors of a batch of pairs, see `packPairs`. Under a tape the towers see a few pairs at a time and keep nothing
   * of them; backward runs them again, so that the memory of a batch is that of its vectors.
   *
   * Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021.
   *
   * @returns Both [pairs, projection_dim].
   */
  encode(batch: Batch): { images: Tensor; texts: Tensor } {
    const { gpu } = this;
    using scope = gpu.scope();
    const parts = microBatches(batch, this.#options.microBatch ?? batch.pictureCount);
    const all = (forward: (part: Pairs) => Tensor): Tensor => {
      if (parts.length === 1) return forward(parts[0]!);
      const vectors = (part: Pairs) => {
        const compute = () => [forward(part)] as const;
        return (gpu.tape?.checkpoint([], compute) ?? compute())[0];
      };
      return concatRows(parts.map(vectors));
    };
    return {
      images: scope.keep(all((part) => this.encodePictures(part.pictures, part.lengths.length))),
      texts: scope.keep(all(({ ids, lengths }) => this.encodeTexts(ids, lengths))),
    };
  }

  /** The contrastive loss of a batch of pairs times `share`; see `encode`. */
  losses(batch: Batch, share: number): { loss: Tensor } {
    using scope = this.gpu.scope();
    const { images, texts } = this.encode(batch);
    const scale = this.parameters.get("logit_scale");
    return { loss: scope.keep(contrastiveLoss(images, texts, scale, share)) };
  }

  /** Keeps the temperature above 1 / 100, as OpenAI did. */
  constrain(): void {
    const scale = this.parameters.get("logit_scale");
    elementwise("clamp_above", "min(a, T(s))", [scale], scale, MOST_LOGIT_SCALE);
  }

  /** Frees the weights. */
  [Symbol.dispose](): void {
    this.parameters[Symbol.dispose]();
  }

  #project(x: Tensor, name: string): Tensor {
    return linear(x, this.parameters.get(`${name}.weight`));
  }
}

/** Pictures and their texts. */
type Pairs = Pick<Batch, "ids" | "lengths" | "pictures">;

/** A batch's pairs, some at a time. */
function microBatches({ ids, lengths, pictures }: Batch, size: number): Pairs[] {
  const bytes = pictures.length / lengths.length;
  let at = 0;
  return Array.from({ length: Math.ceil(lengths.length / size) }, (_, i) => {
    const part = lengths.slice(i * size, (i + 1) * size);
    const start = at;
    at += part.reduce((sum, length) => sum + length, 0);
    const from = i * size * bytes;
    return {
      ids: ids.subarray(start, at),
      lengths: part,
      pictures: pictures.subarray(from, from + part.length * bytes),
    };
  });
}
