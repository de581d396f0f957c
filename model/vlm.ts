import { crossEntropy, rowLosses } from "../kernels/cross_entropy.ts";
import { add, reshape } from "../kernels/elementwise.ts";
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
import { words } from "./bytes.ts";
import { ClipVision, clipVisionSpecs } from "./clip_vision.ts";
import { type ClipVisionConfig, type MiniMindConfig, patchCount, pictureTokens } from "./config.ts";
import type { Balance } from "./feed_forward.ts";
import { MiniMind, miniMindSpecs } from "./minimind.ts";
import {
  linearInitial,
  linearWeight,
  parameter,
  type ParameterGroup,
  Parameters,
  type ParameterSpec,
  type Quantization,
} from "./parameters.ts";
import { BLOCK } from "./quantize.ts";
import type { BatchCounts, Trainable } from "./trainable.ts";

/** Shapes and constants of a vision-language model. */
export interface VlmConfig {
  /** The language model. */
  readonly language: MiniMindConfig;
  /** The vision tower; a model without one is the language model alone. */
  readonly vision?: ClipVisionConfig | undefined;
  /** Whether the tower is saved with the model although it is frozen, because it was trained with it before. */
  readonly ownsVision?: boolean;
  /** Mean of each colour, of pixels in 0…1. */
  readonly imageMean: readonly [number, number, number];
  /** Standard deviation of each colour. */
  readonly imageStd: readonly [number, number, number];
}

/** In which group a parameter trains, or nothing when it is frozen. */
export type TrainPolicy = (spec: ParameterSpec) => string | undefined;

/** The parameters of the linear layer that turns the features of a patch, or of a square of them, into a token's vector. */
export function projectionSpecs(
  { language, vision }: Pick<VlmConfig, "language" | "vision">,
): ParameterSpec[] {
  if (!vision) return [];
  const at = "vision_proj.vision_proj.0";
  const features = vision.hidden_size * (vision.spatial_merge_size ?? 1) ** 2;
  const initial = linearInitial(features);
  return [
    linearWeight(`${at}.weight`, language.hidden_size, features),
    parameter(`${at}.bias`, [language.hidden_size], initial),
  ];
}

/** Whether a parameter is a linear layer of the language model, the head included, whose rows are whole blocks. */
function isQuantizable({ name, shape, operand }: ParameterSpec): boolean {
  return operand === true && name.startsWith("model.") && shape.at(-1)! % BLOCK === 0;
}

/** Whether a parameter is read for tokens that are generated. */
function isDecoded({ name, operand }: ParameterSpec): boolean {
  return operand === true && name.startsWith("model.");
}

/**
 * A language model that sees: the features of a picture's patches, projected, stand in the place of its placeholder
 * tokens.
 */
export class Vlm implements Trainable, Disposable {
  /** The device it lives on. */
  readonly gpu: Gpu;
  /** Shapes and constants. */
  readonly config: VlmConfig;
  /** Parameters of the language model and the projection, as they are saved together. */
  readonly parameters: Parameters;
  /** Parameters of the vision tower. */
  readonly visionParameters: Parameters;
  /** Whether the tower is saved with the model, because it has been trained with it. */
  readonly ownsVision: boolean;
  /** The language model. */
  readonly language: MiniMind;
  readonly #vision: ClipVision | undefined;

  /**
   * Allocates a model with undefined weights; initialise or load both sets of parameters next.
   *
   * @param train What trains; nothing unless given. A model of which nothing trains is made for answering.
   * @param precision To what the operands of matrix products are rounded; float32 unless given.
   * @param quantization How the language model's linear layers are kept when they do not train, if not so.
   */
  constructor(
    gpu: Gpu,
    config: VlmConfig,
    train?: TrainPolicy,
    precision?: Precision,
    quantization?: Quantization,
  ) {
    this.gpu = gpu;
    this.config = config;
    const specs = [...miniMindSpecs(config.language), ...projectionSpecs(config)];
    this.parameters = new Parameters(gpu, specs, {
      ...{ train, precision, saved: "float16" },
      quantized: quantization && isQuantizable,
      imaged: train ? undefined : isDecoded,
    });
    const visionSpecs = config.vision ? clipVisionSpecs(config.vision) : [];
    this.visionParameters = new Parameters(gpu, visionSpecs, {
      ...{ train, precision },
      saved: config.ownsVision ? "float16" : undefined,
    });
    this.ownsVision = config.ownsVision || this.visionParameters.trainedCount > 0;
    this.language = new MiniMind(gpu, config.language, this.parameters);
    this.#vision = config.vision && new ClipVision(config.vision, this.visionParameters);
  }

  /**
   * The vision tower.
   *
   * @throws {ShapeError} where the model has none.
   */
  get vision(): ClipVision {
    if (this.#vision) return this.#vision;
    throw new ShapeError("This is a language model alone, which cannot see pictures.");
  }

  /** The parameters of both. */
  get parameterSets(): readonly Parameters[] {
    return [this.parameters, this.visionParameters];
  }

  /** All groups of parameters that train. */
  get groups(): readonly ParameterGroup[] {
    return this.parameterSets.flatMap(({ groups }) => groups);
  }

  /** Tokens that a picture takes in a sequence; 0 without a tower. */
  get tokensPerPicture(): number {
    return this.config.vision ? pictureTokens(this.config.vision) : 0;
  }

  /** Numbers that the projection turns into a token; 0 without a tower. */
  get featureWidth(): number {
    const { hidden_size = 0, spatial_merge_size: merge = 1 } = this.config.vision ?? {};
    return hidden_size * merge ** 2;
  }

  /**
   * Encodes pictures.
   *
   * @param pictures Bytes [count, 3, size, size], resized and cropped.
   * @returns Features for each token, [count · tokens, width]: those of its patch or patches, without the class tokens.
   */
  encodePictures(pictures: Uint8Array<ArrayBuffer>, count: number): Tensor {
    const { image_size: size } = this.vision.config;
    using scope = this.gpu.scope();
    const bytes = this.gpu.tensor(words(pictures), [pictures.length / 4], "pictures");
    const shape = [count, 3, size, size];
    const pixels = normalizePixels(bytes, shape, this.config.imageMean, this.config.imageStd);
    return scope.keep(this.dropClassTokens(this.vision.forward(pixels)));
  }

  /**
   * The patches' rows [N · patches, width] of a last hidden state [N · (1 + patches), width]; where m² patches make a
   * token, the rows of each behind one another [N · patches / m², m² · width].
   */
  dropClassTokens(hidden: Tensor): Tensor {
    const { config } = this.vision;
    const { image_size, patch_size, spatial_merge_size: merge = 1 } = config;
    const patches = patchCount(config);
    const across = image_size / patch_size;
    const order = Uint32Array.from({ length: patches }, (_, i) => 1 + patchAt(i, across, merge));
    const rows = new Uint32Array(hidden.rows / (patches + 1) * patches);
    for (let start = 0, at = 0; at < rows.length; start += patches + 1) {
      for (const row of order) rows[at++] = start + row;
    }
    using scope = this.gpu.scope();
    const features = gatherRows(hidden, this.gpu.tensor(rows, [rows.length]));
    if (merge === 1) return scope.keep(features);
    return scope.keep(reshape(features, [rows.length / merge ** 2, hidden.width * merge ** 2]));
  }

  /** Turns features of patches [n, features] into vectors of tokens [n, hidden]. */
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
    whole: BatchCounts = { labels: batch.labelRows.length, sequences: batch.lengths.length },
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

/** The patch that comes `i`th when a grid is gone through in squares, row by row in each. */
function patchAt(i: number, across: number, side: number): number {
  const [square, inside] = [Math.floor(i / side ** 2), i % side ** 2];
  const squares = across / side;
  const y = Math.floor(square / squares) * side + Math.floor(inside / side);
  return y * across + square % squares * side + inside % side;
}
