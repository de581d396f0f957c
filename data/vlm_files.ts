import { basename } from "@std/path";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { HostDtype } from "../model/host_tensor.ts";
import { readVlm, savedTensors, TIED, type VlmSource } from "../model/load_vlm.ts";
import { pthChunks } from "../model/pth_writer.ts";
import type { Vlm } from "../model/vlm.ts";
import { DISK } from "./disk.ts";
import { writeFileAtomic } from "./files.ts";

export type { VlmSource };

/**
 * Loads a vision-language model from files; see `readVlm`.
 *
 * @returns The model, and whether its projection and its tower were drawn anew.
 * @throws {FormatError} that lists every missing, unexpected and misshapen tensor.
 */
export async function loadVlm(
  gpu: Gpu,
  source: VlmSource,
): Promise<{ vlm: Vlm; newProjection: boolean; newTower: boolean }> {
  return await readVlm(DISK, gpu, source);
}

/**
 * Writes the weights of the language model and the projection under the original's names, as `torch.load` reads them;
 * with them the vision tower, if it has been trained.
 *
 * @param dtype Half precision, as the original saves, unless told otherwise.
 */
export async function saveVlm(vlm: Vlm, path: string, dtype: HostDtype = "float16"): Promise<void> {
  const archive = basename(path).replace(/\.pth$/, "");
  await writeFileAtomic(path, pthChunks(savedTensors(vlm, dtype), archive, TIED));
}
