/** What MiniMind-V needs, by short names: in which repository it lies and where it goes. */

import type { RepositoryType } from "./repository.ts";

/** A group of files of one repository. */
export interface CatalogEntry {
  /** What it is, in a sentence. */
  readonly summary: string;
  /** The repository on Hugging Face. */
  readonly huggingface: string;
  /** Its twin on ModelScope. */
  readonly modelscope: string;
  /** What the repository holds. */
  readonly type: RepositoryType;
  /** The files; of each its names, the best first. */
  readonly files: readonly (readonly string[])[];
  /** The folder that they go to, below the root. */
  readonly folder: string;
}

const WEIGHTS = {
  huggingface: "jingyaogong/MiniMind2-V-PyTorch",
  modelscope: "gongjy/MiniMind2-V-PyTorch",
  type: "model",
  folder: "out",
} as const;

const DATA = {
  huggingface: "jingyaogong/minimind-v_dataset",
  modelscope: "gongjy/minimind-v_dataset",
  type: "dataset",
  folder: "dataset",
} as const;

/** Each name and what it stands for. */
export const CATALOG: Readonly<Record<string, CatalogEntry>> = {
  clip: {
    summary: "The vision tower, CLIP ViT-B/16 (0.6 GB).",
    huggingface: "openai/clip-vit-base-patch16",
    modelscope: "openai-mirror/clip-vit-base-patch16",
    type: "model",
    files: [
      ["config.json"],
      ["preprocessor_config.json"],
      ["model.safetensors", "pytorch_model.bin"],
    ],
    folder: "model/vision_model/clip-vit-base-patch16",
  },
  tokenizer: {
    summary: "MiniMind's tokenizer.",
    huggingface: "jingyaogong/MiniMind2-V",
    modelscope: "gongjy/MiniMind2-V",
    type: "model",
    files: [["tokenizer.json"], ["tokenizer_config.json"]],
    folder: "model",
  },
  "llm-512": {
    ...WEIGHTS,
    summary: "The language model of width 512, to begin with.",
    files: [["llm_512.pth", "lm_512.pth"]],
  },
  "llm-768": {
    ...WEIGHTS,
    summary: "The language model of width 768, to begin with.",
    files: [["llm_768.pth", "lm_768.pth"]],
  },
  "minimind-v": {
    ...WEIGHTS,
    summary: "The trained model of width 512.",
    files: [["sft_vlm_512.pth"]],
  },
  "minimind-v-768": {
    ...WEIGHTS,
    summary: "The trained model of width 768.",
    files: [["sft_vlm_768.pth"]],
  },
  "pretrain-data": {
    ...DATA,
    summary: "Captions and their pictures, which can stay in the zip.",
    files: [["pretrain_data.jsonl", "pretrain_vlm_data.jsonl"], ["pretrain_images.zip"]],
  },
  "sft-data": {
    ...DATA,
    summary: "Conversations and their pictures, which can stay in the zip.",
    files: [["sft_data.jsonl", "sft_vlm_data.jsonl"], ["sft_images.zip"]],
  },
  "pretrain-parquet": {
    ...DATA,
    summary: "Captions with their pictures in one Parquet file.",
    files: [["pretrain_i2t.parquet", "pretrain_data.parquet"]],
  },
  "sft-parquet": {
    ...DATA,
    summary: "Conversations with their pictures in one Parquet file.",
    files: [["sft_i2t.parquet", "sft_data.parquet"]],
  },
};

/** Names that stand for several. */
export const BUNDLES: Readonly<Record<string, readonly string[]>> = {
  pretrain: ["clip", "tokenizer", "llm-512", "pretrain-data"],
  sft: ["clip", "tokenizer", "sft-data"],
  eval: ["clip", "tokenizer", "minimind-v"],
};
