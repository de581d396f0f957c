import { join } from "@std/path";
import type { ClipSizes } from "../data/clip_files.ts";
import type { ModelFolder } from "../data/model_folder.ts";
import type { AdamWConstants } from "../kernels/optimizer.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import type { MiniMindOptions } from "../model/config.ts";
import type { Freeze } from "./freeze.ts";
import type { TrackerKind } from "./open_tracker.ts";

/** Everything that a training run is told. */
export interface RunSettings {
  /** Where the model's files lie. */
  readonly folder: ModelFolder;
  /** JSON Lines file of conversations. */
  readonly dataPath: string;
  /** Folder of its pictures. */
  readonly imagesPath: string;
  /** Name of the weights to begin with, without size and ending; `none` for new ones. */
  readonly fromWeight: string;
  /** Name under which weights are saved, likewise. */
  readonly saveWeight: string;
  /** Hidden size of the language model, which is part of the files' names. */
  readonly hiddenSize: number;
  /** What else the language model must be. */
  readonly language: MiniMindOptions;
  /** Whether the model sees pictures, or is a language model alone. */
  readonly pictures: boolean;
  /** How pairs of pictures and captions are told apart, where that is learnt in place of tokens. */
  readonly contrastive: ContrastiveSettings | undefined;
  /** What is frozen. */
  readonly freeze: Freeze;
  /** Whether the vision tower is frozen, too. */
  readonly freezeVision: boolean;
  /** Adapter. */
  readonly device: string;
  /** Whether ranks send gradients in half precision. */
  readonly halfSums: boolean;
  /** Updates that each rank makes by itself before weights are averaged. */
  readonly localSteps: number;
  /** Whether each rank keeps only its part of the optimizer's state. */
  readonly shardOptimizer: boolean;
  /** To what the operands of matrix products are rounded; chosen by the adapter unless given. */
  readonly dtype: Precision | undefined;
  /** Passes over the data. */
  readonly epochs: number;
  /** Samples of a batch. */
  readonly batchSize: number;
  /** Learning rate. */
  readonly learningRate: number;
  /** Batches averaged for one update. */
  readonly accumulationSteps: number;
  /** Longest gradient; longer ones are scaled down to it. */
  readonly gradClip: number;
  /** Tokens after which a sample is cut off. */
  readonly maxLength: number;
  /** Batches between log lines. */
  readonly logInterval: number;
  /** Batches between saved weights. */
  readonly saveInterval: number;
  /** Updates after which the run ends early. */
  readonly maxSteps: number | undefined;
  /** Seed of the order of samples and of new weights. */
  readonly seed: number;
  /** Whether each epoch shuffles the samples. */
  readonly shuffle: boolean;
  /** Batches within which rows of like length meet; 0 for none. */
  readonly groupWindow: number;
  /** Workers that prepare batches. */
  readonly workers: number;
  /** What happens at a row that cannot be used. */
  readonly onBadSample: "stop" | "skip";
  /** Learning rate of the projection, where it has its own. */
  readonly projectorLearningRate: number | undefined;
  /** Learning rate of the vision tower, where it trains and has its own. */
  readonly visionLearningRate: number | undefined;
  /** Batches over which the learning rate rises from 0. */
  readonly warmupSteps: number;
  /** Constants of AdamW. */
  readonly adamw: AdamWConstants;
  /** The command and its arguments, for who wants to continue. */
  readonly command: readonly string[];
  /** Whether to continue from the last checkpoint, if there is one. */
  readonly resume: boolean;
  /** Checkpoints that are kept. */
  readonly keep: number;
  /** Updates without a finite gradient in a row after which the run ends. */
  readonly maxBadSteps: number;
  /** Data to validate with. */
  readonly valPath: string | undefined;
  /** Share of the rows that are held out to validate with, 0 for none. */
  readonly valRatio: number;
  /** Where numbers, texts and pictures are sent. */
  readonly trackers: readonly TrackerKind[];
  /** Address of MLflow's server. */
  readonly trackingUri: string | undefined;
  /** Project of the trackers. */
  readonly project: string;
  /** Updates between two looks at what the model says; 0 for none. */
  readonly sampleEvery: number;
  /** Metrics file. */
  readonly metrics: string;
  /** Whether features of pictures are kept: `auto` when pictures are seen again, `off`, or a folder for what the memory does not hold. */
  readonly featureCache: string;
  /** Bytes of memory for them. */
  readonly featureCacheBudget: number;
  /** Whether blocks are computed again for the backward pass rather than kept. */
  readonly checkpointActivations: boolean;
  /** Whether accumulation counts as the original does. */
  readonly compat: boolean;
}

/** How pairs of pictures and captions are told apart. */
export interface ContrastiveSettings {
  /** Sizes of the towers that were asked for. */
  readonly sizes: ClipSizes;
  /** Pairs that go through the towers at once. */
  readonly microBatch: number;
}

/** How a run ended. */
export interface RunResult {
  /** Updates made. */
  readonly updates: number;
  /** Where the weights were saved last. */
  readonly saved: string;
  /** Whether it was asked to stop before its end. */
  readonly interrupted: boolean;
  /** The page that tells of it. */
  readonly report: string;
}

/** What names of weight files end with; names to which the ending is still added must not. */
export const WEIGHT_ENDING = /\.(pth|pt|bin|safetensors)$/;

/**
 * The name of a weight file: `{name}_{hidden}[_moe].pth`.
 *
 * @throws {UsageError} where the name is a file's already.
 */
export function weightPath(folder: string, name: string, hidden: number, moe: boolean): string {
  if (WEIGHT_ENDING.test(name)) {
    throw new UsageError(
      `Weights are given by a name such as sft_vlm for out/sft_vlm_512.pth, to which folder (--save_dir), size ` +
        `(--hidden_size) and ending are added, but here it is ${name}.`,
    );
  }
  return join(folder, `${name}_${hidden}${moe ? "_moe" : ""}.pth`);
}

/** The weights that a run begins with, unless they are drawn anew. */
export function startWeights(
  { folder, fromWeight, hiddenSize, language }: RunSettings,
): string | undefined {
  if (fromWeight === "none") return undefined;
  return weightPath(folder.out, fromWeight, hiddenSize, language.use_moe ?? false);
}

/** The name of a run: `{weight}_{hidden}[_moe]`, of towers `{weight}` alone. */
export function runName({ saveWeight, hiddenSize, language, contrastive }: RunSettings): string {
  if (contrastive) return saveWeight;
  return `${saveWeight}_${hiddenSize}${language.use_moe ? "_moe" : ""}`;
}
