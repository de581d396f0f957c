import { crossEntropy, rowLosses } from "../kernels/cross_entropy.ts";
import { add } from "../kernels/elementwise.ts";
import { embedding, embeddingPlan } from "../kernels/embedding.ts";
import { linear } from "../kernels/matmul.ts";
import { normalizePixels } from "../kernels/patches.ts";
import { gatherRows, spliceRows } from "../kernels/rows.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { packSequences, type Sequences } from "../kernels/sequences.ts";
import type { Batch } from "./batch.ts";
import { ClipVision, clipVisionSpecs } from "./clip_vision.ts";
import { type ClipVisionConfig, type MiniMindConfig, patchCount } from "./config.ts";
import type { Balance } from "./feed_forward.ts";
import { MiniMind, miniMindSpecs } from "./minimind.ts";
import {
  linearInitial,
  linearWeight,
  parameter,
  Parameters,
  type ParameterSpec,
} from "./parameters.ts";

/** Shapes and constants of a vision-language model. */
export interface VlmConfig {
  /** The language model. */
  readonly language: MiniMindConfig;
  /** The vision tower. */
  readonly vision: ClipVisionConfig;
  /** Mean of each colour, of pixels in 0…1. */
  readonly imageMean: readonly [number, number, number];
  /** Standard deviation of each colour. */
  readonly imageStd: readonly [number, number, number];
}

/** In which group a parameter trains, or nothing when it is frozen. */
export type TrainPolicy = (spec: ParameterSpec) => string | undefined;

/** The parameters of the linear layer that turns a patch's features into a token's vector. */
export function projectionSpecs({ language, vision }: VlmConfig): ParameterSpec[] {
  const at = "vision_proj.vision_proj.0";
  const initial = linearInitial(vision.hidden_size);
  return [
    linearWeight(`${at}.weight`, language.hidden_size, vision.hidden_size),
    parameter(`${at}.bias`, [language.hidden_size], initial),
  ];
}

/**
 * A language model that sees: the features of a picture's patches, projected, stand in the place of its placeholder
 * tokens.
 */
export class Vlm implements Disposable {
  /** The device it lives on. */
  readonly gpu: Gpu;
  /** Shapes and constants. */
  readonly config: VlmConfig;
  /** Parameters of the language model and the projection, as they are saved together. */
  readonly parameters: Parameters;
  /** Parameters of the vision tower. */
  readonly visionParameters: Parameters;
  /** The language model. */
  readonly language: MiniMind;
  /** The vision tower. */
  readonly vision: ClipVision;

  /** Allocates a model with undefined weights; initialise or load both sets of parameters next. */
  constructor(gpu: Gpu, config: VlmConfig, train?: TrainPolicy, precision?: Precision) {
    this.gpu = gpu;
    this.config = config;
    const specs = [...miniMindSpecs(config.language), ...projectionSpecs(config)];
    this.parameters = new Parameters(gpu, specs, { train, precision, saved: true });
    this.visionParameters = new Parameters(gpu, clipVisionSpecs(config.vision), {
      train,
      precision,
    });
    this.language = new MiniMind(gpu, config.language, this.parameters);
    this.vision = new ClipVision(config.vision, this.visionParameters);
  }

  /** Tokens that a picture takes in a sequence. */
  get tokensPerPicture(): number {
    return patchCount(this.config.vision);
  }

  /**
   * Encodes pictures.
   *
   * @param pictures Bytes [count, 3, size, size], resized and cropped.
   * @returns Features of the patches [count · patches, vision width], without the class tokens.
   */
  encodePictures(pictures: Uint8Array<ArrayBuffer>, count: number): Tensor {
    const { image_size: size } = this.config.vision;
    using scope = this.gpu.scope();
    const bytes = this.gpu.tensor(words(pictures), [pictures.length / 4], "pictures");
    const shape = [count, 3, size, size];
    const pixels = normalizePixels(bytes, shape, this.config.imageMean, this.config.imageStd);
    return scope.keep(this.dropClassTokens(this.vision.forward(pixels)));
  }

  /** The patches' rows [N · patches, width] of a last hidden state [N · (1 + patches), width]. */
  dropClassTokens(hidden: Tensor): Tensor {
    const tokens = this.tokensPerPicture;
    const count = hidden.rows / (tokens + 1);
    const rows = Uint32Array.from(
      { length: count * tokens },
      (_, i) => i + Math.floor(i / tokens) + 1,
    );
    using scope = this.gpu.scope();
    return scope.keep(gatherRows(hidden, this.gpu.tensor(rows, [rows.length])));
  }

  /** Turns features of patches [n, vision width] into vectors of tokens [n, hidden]. */
  project(features: Tensor): Tensor {
    const at = "vision_proj.vision_proj.0";
    const bias = this.parameters.get(`${at}.bias`);
    return linear(features, this.parameters.get(`${at}.weight`), { bias });
  }

  /**
   * Vectors of tokens, with pictures in their places.
   *
   * @param ids Token ids.
   * @param imageRows Rows that the pictures take, in their order.
   * @param features Features of the pictures' patches, as many as there are image rows.
   */
  embed(
    ids: Uint32Array<ArrayBuffer>,
    imageRows: Uint32Array<ArrayBuffer>,
    features?: Tensor,
  ): Tensor {
    const { embedding: table } = this.language;
    if ((features?.rows ?? 0) !== imageRows.length) {
      throw new ShapeError(
        `${
          features?.rows ?? 0
        } features of pictures were given for ${imageRows.length} placeholder tokens.`,
      );
    }
    using scope = this.gpu.scope();
    const embedded = embedding(table, embeddingPlan(this.gpu, ids, table));
    if (!features) return scope.keep(embedded);
    const rows = this.gpu.tensor(imageRows, [imageRows.length]);
    return scope.keep(spliceRows(embedded, this.project(features), rows));
  }

  /**
   * The loss of a batch: the cross-entropy of the tokens to be learnt, weighted.
   *
   * @param batch What to learn.
   * @param weight Factor on each token's loss; 1 / (number of labels) gives the mean.
   * @param features Features of the batch's pictures; encoded here unless given.
   * @returns The loss [1].
   */
  loss(batch: Batch, weight: number, features?: Tensor): Tensor {
    using scope = this.gpu.scope();
    const sequences = packSequences(this.gpu, batch.lengths);
    return scope.keep(this.#crossEntropy(batch, weight, features, sequences));
  }

  /**
   * The parts of a batch's loss while training.
   *
   * @param share What a batch's mean loss is multiplied by, 1 / (batches of an update).
   * @param features Features of the batch's pictures; encoded here unless given.
   * @param whole Labels and sequences over which to take means where this batch is only a part of one.
   * @returns The mean cross-entropy [1], and with experts their balance losses added up [1], both times `share`.
   */
  losses(
    batch: Batch,
    share: number,
    features?: Tensor,
    whole: { readonly labels: number; readonly sequences: number } = {
      labels: batch.labelRows.length,
      sequences: batch.lengths.length,
    },
  ): { loss: Tensor; auxLoss?: Tensor } {
    const { use_moe, aux_loss_alpha } = this.config.language;
    const weight = share / whole.labels;
    const balanced = share * batch.lengths.length / whole.sequences;
    if (!use_moe || aux_loss_alpha === 0) return { loss: this.loss(batch, weight, features) };
    using scope = this.gpu.scope();
    const sequences = packSequences(this.gpu, batch.lengths);
    const balance: Balance = { sequences, weight: balanced, losses: [] };
    const loss = scope.keep(this.#crossEntropy(batch, weight, features, sequences, balance));
    const auxLosses = balance.losses.map((loss) => this.gpu.adopt(loss));
    return { loss, auxLoss: scope.keep(auxLosses.reduce(add)) };
  }

  /**
   * The cross-entropy of each of a batch's labels by itself [R], without gradient.
   *
   * @param features Features of the batch's pictures; encoded here unless given.
   */
  rowLosses(batch: Batch, features?: Tensor): Tensor {
    using scope = this.gpu.scope();
    const sequences = packSequences(this.gpu, batch.lengths);
    const hidden = this.#hidden(batch, features, sequences);
    return scope.keep(rowLosses(hidden, this.language.embedding, batch.targets));
  }

  #crossEntropy(
    batch: Batch,
    weight: number,
    features: Tensor | undefined,
    sequences: Sequences,
    balance?: Balance,
  ): Tensor {
    using scope = this.gpu.scope();
    const hidden = this.#hidden(batch, features, sequences, balance);
    return scope.keep(crossEntropy(hidden, this.language.embedding, batch.targets, { weight }));
  }

  /** What the head reads to predict a batch's labels [R, hidden]. */
  #hidden(
    batch: Batch,
    features: Tensor | undefined,
    sequences: Sequences,
    balance?: Balance,
  ): Tensor {
    const { gpu } = this;
    using scope = gpu.scope();
    const pictures = batch.pictureCount > 0
      ? features ?? this.encodePictures(batch.pictures, batch.pictureCount)
      : undefined;
    const x = this.embed(batch.ids, batch.imageRows, pictures);
    const rows = gpu.tensor(batch.labelRows, [batch.labelRows.length]);
    return scope.keep(this.language.forward(x, sequences, rows, balance));
  }

  /** Frees the weights. */
  [Symbol.dispose](): void {
    this.language[Symbol.dispose]();
    this.parameters[Symbol.dispose]();
    this.visionParameters[Symbol.dispose]();
  }
}

function words(bytes: Uint8Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const aligned = bytes.byteOffset % 4 ? bytes.slice() : bytes;
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}
