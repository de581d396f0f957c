/** Where the files of a model lie, in folders laid out as MiniMind-V's, and the small ones read. */

import { join } from "@std/path";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { ClipVisionConfig } from "../model/config.ts";
import {
  type LoadedImageProcessor,
  type LoadedTokenizer,
  readClipConfig,
  readImageProcessor,
  readTokenizer,
} from "../model/model_files.ts";
import { DISK } from "./disk.ts";

export type { LoadedImageProcessor, LoadedTokenizer };

/** The folders of a model; each path is relative to the working directory or absolute. */
export interface ModelFolder {
  /** Weights of the language model and the projection: `pretrain_vlm_512.pth`. */
  readonly out: string;
  /** The tokenizer. */
  readonly tokenizer: string;
  /** The vision encoder, as Hugging Face ships it. */
  readonly vision: string;
  /** Rows and pictures to train with. */
  readonly dataset: string;
  /** What a run continues from. */
  readonly checkpoints: string;
}

/**
 * The folders below a root; those that are given stand where they were given.
 *
 * @example
 * ```ts
 * import { modelFolder } from "@glimpse/vlm";
 *
 * modelFolder("minimind-v", { out: "/data/out" }).dataset; // "minimind-v/dataset"
 * ```
 */
export function modelFolder(root: string = ".", given: Partial<ModelFolder> = {}): ModelFolder {
  return {
    out: given.out ?? join(root, "out"),
    tokenizer: given.tokenizer ?? join(root, "model"),
    vision: given.vision ?? join(root, "model", "vision_model", "clip-vit-base-patch16"),
    dataset: given.dataset ?? join(root, "dataset"),
    checkpoints: given.checkpoints ?? join(root, "checkpoints"),
  };
}

/**
 * Makes sure that a root is there, so that not each file below it is missed.
 *
 * @throws {GlimpseError} where there is no such folder.
 */
export async function requireRoot(root: string): Promise<void> {
  if (await Deno.stat(root).then((info) => info.isDirectory, () => false)) return;
  throw new GlimpseError(`There is no folder ${root}; --root names one laid out as MiniMind-V's.`);
}

/** Reads a tokenizer's folder; see `readTokenizer`. */
export async function loadTokenizer(folder: string): Promise<LoadedTokenizer> {
  return await readTokenizer(DISK, folder);
}

/** Reads how a vision tower's folder wants pictures; see `readImageProcessor`. */
export async function loadImageProcessor(folder: string): Promise<LoadedImageProcessor> {
  return await readImageProcessor(DISK, folder);
}

/** Reads the configuration of the vision tower in a folder; see `readClipConfig`. */
export async function loadClipConfig(folder: string): Promise<ClipVisionConfig> {
  return await readClipConfig(DISK, folder);
}
