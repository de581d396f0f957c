import { join } from "@std/path";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Clip } from "../model/clip.ts";
import { clipConfigJson, type ClipTokens } from "../model/clip_config.ts";
import {
  type ClipPlan,
  type ClipSizes,
  type ClipSource,
  type LoadedClip,
  planClip,
  readClip,
} from "../model/load_clip.ts";
import { safetensorsChunks } from "../model/safetensors.ts";
import { DISK } from "./disk.ts";
import { writeFileAtomic } from "./files.ts";

export type { ClipPlan, ClipSizes, ClipSource, LoadedClip };

/** Plans a CLIP model from a folder and sizes that are asked for; see `planClip`. */
export async function openClipPlan(
  folder: string,
  vocabSize: number,
  sizes: ClipSizes,
): Promise<ClipPlan> {
  return await planClip(DISK, folder, vocabSize, sizes);
}

/** Loads a CLIP model from a folder, or draws it anew; see `readClip`. */
export async function loadClip(gpu: Gpu, source: ClipSource): Promise<LoadedClip> {
  return await readClip(DISK, gpu, source);
}

/**
 * Writes a folder that transformers' `CLIPModel` loads, and whose vision tower `loadVlm` does.
 *
 * @param preprocessor What pictures went through, as `preprocessor_config.json` says it.
 * @param tokens What texts began and ended with.
 */
export async function saveClip(
  clip: Clip,
  folder: string,
  preprocessor: Readonly<Record<string, unknown>>,
  tokens: ClipTokens,
): Promise<void> {
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  await writeFileAtomic(join(folder, "config.json"), json(clipConfigJson(clip.config, tokens)));
  await writeFileAtomic(join(folder, "preprocessor_config.json"), json(preprocessor));
  const tensors = clip.parameters.tensors("float32");
  const chunks = safetensorsChunks(tensors, { format: "pt" });
  await writeFileAtomic(join(folder, "model.safetensors"), chunks);
}
