/** The commands that train are one trainer with these presets. */

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
  /** Whether the model sees pictures, or is a language model alone. */
  readonly pictures: boolean;
  /** Batches of an update. */
  readonly accumulationSteps: number;
  /** What is frozen. */
  readonly freeze: 0 | 1 | 2;
  /** The data: `{data}_data.jsonl` and `{data}_images`. */
  readonly data: string;
  /** Project name for Weights & Biases. */
  readonly project: string;
}

/** The original's pretrain: the projection learns, captions are its data. */
export const PRETRAIN: TrainPreset = {
  command: "pretrain",
  saveWeight: "pretrain_vlm",
  fromWeight: "llm",
  epochs: 4,
  batchSize: 16,
  learningRate: 4e-4,
  maxSeqLen: 640,
  pictures: true,
  accumulationSteps: 1,
  freeze: 1,
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
  pictures: true,
  accumulationSteps: 1,
  freeze: 0,
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
  pictures: false,
  accumulationSteps: 8,
  freeze: 0,
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
  pictures: false,
  accumulationSteps: 1,
  freeze: 0,
  data: "sft_llm",
  project: "MiniMind-SFT",
};
