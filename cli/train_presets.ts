/** The commands that train are one trainer with these presets. */

import type { AdamWConstants } from "../kernels/optimizer.ts";

/** The defaults in which two commands differ. */
export interface TrainPreset {
  /** The command's name. */
  readonly command: string;
  /** Name of the weights that are saved. */
  readonly saveWeight: string;
  /** Name of the weights to begin with. */
  readonly fromWeight: string;
  /** Passes over the data. */
  readonly epochs: number;
  /** Samples of a batch. */
  readonly batchSize: number;
  /** Learning rate. */
  readonly learningRate: number;
  /** Tokens after which a sample is cut off. */
  readonly maxSeqLen: number;
  /** What is trained: a model that sees, a language model alone, or the two towers of CLIP. */
  readonly model: "vlm" | "llm" | "clip";
  /** Batches of an update. */
  readonly accumulationSteps: number;
  /** What is frozen. */
  readonly freeze: 0 | 1 | 2;
  /** Whether the vision tower is frozen, too. */
  readonly freezeVision: boolean;
  /** Batches over which the learning rate rises. */
  readonly warmupSteps: number;
  /** Constants of AdamW. */
  readonly adamw: AdamWConstants;
  /** The data: `{data}_data.jsonl` and `{data}_images`. */
  readonly data: string;
  /** Project name for Weights & Biases. */
  readonly project: string;
}

/** PyTorch's defaults. */
const ADAMW: AdamWConstants = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };

/** The original's pretrain: the projection learns, captions are its data. */
export const PRETRAIN: TrainPreset = {
  command: "pretrain",
  saveWeight: "pretrain_vlm",
  fromWeight: "llm",
  epochs: 4,
  batchSize: 16,
  learningRate: 4e-4,
  maxSeqLen: 640,
  model: "vlm",
  accumulationSteps: 1,
  freeze: 1,
  freezeVision: true,
  warmupSteps: 0,
  adamw: ADAMW,
  data: "pretrain",
  project: "MiniMind-V-Pretrain",
};

/** The original's SFT: everything but the vision tower learns, dialogues are its data. */
export const SFT: TrainPreset = {
  command: "sft",
  saveWeight: "sft_vlm",
  fromWeight: "pretrain_vlm",
  epochs: 2,
  batchSize: 4,
  learningRate: 1e-6,
  maxSeqLen: 1536,
  model: "vlm",
  accumulationSteps: 1,
  freeze: 0,
  freezeVision: true,
  warmupSteps: 0,
  adamw: ADAMW,
  data: "sft",
  project: "MiniMind-V-SFT",
};

/** MiniMind's pretrain: the language model itself learns from text. */
export const PRETRAIN_LLM: TrainPreset = {
  command: "pretrain-llm",
  saveWeight: "pretrain_llm",
  fromWeight: "none",
  epochs: 1,
  batchSize: 32,
  learningRate: 5e-4,
  maxSeqLen: 340,
  model: "llm",
  accumulationSteps: 8,
  freeze: 0,
  freezeVision: true,
  warmupSteps: 0,
  adamw: ADAMW,
  data: "pretrain_llm",
  project: "MiniMind-Pretrain",
};

/** MiniMind's SFT: the language model learns from conversations to answer. */
export const SFT_LLM: TrainPreset = {
  command: "sft-llm",
  saveWeight: "llm",
  fromWeight: "pretrain_llm",
  epochs: 2,
  batchSize: 16,
  learningRate: 1e-6,
  maxSeqLen: 340,
  model: "llm",
  accumulationSteps: 1,
  freeze: 0,
  freezeVision: true,
  warmupSteps: 0,
  adamw: ADAMW,
  data: "sft_llm",
  project: "MiniMind-SFT",
};

/** CLIP's pretrain: a vision tower and a text tower learn which caption belongs to which picture. OpenAI's numbers, but for the batch. */
export const PRETRAIN_CLIP: TrainPreset = {
  command: "pretrain-clip",
  saveWeight: "clip",
  fromWeight: "vision",
  epochs: 10,
  batchSize: 256,
  learningRate: 5e-4,
  maxSeqLen: 77,
  model: "clip",
  accumulationSteps: 1,
  freeze: 0,
  freezeVision: false,
  warmupSteps: 100,
  adamw: { beta1: 0.9, beta2: 0.98, eps: 1e-6, weightDecay: 0.2 },
  data: "pretrain",
  project: "MiniMind-V-CLIP",
};
