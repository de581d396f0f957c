import { join } from "@std/path";
import { DISK } from "../data/disk.ts";
import { openFile } from "../data/files.ts";
import type { ModelFolder } from "../data/model_folder.ts";
import { findWeights } from "../data/open_weights.ts";

const BLOCKS = 64;
const BLOCK_BYTES = 1 << 16;

/** A text that changes when a data file does: its size and a digest of blocks spread over it. */
export async function dataFingerprint(path: string): Promise<string> {
  await using file = await openFile(path);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const last = Math.max(0, file.size - BLOCK_BYTES);
  for (let i = 0; i < BLOCKS; i++) {
    const start = Math.floor(last * i / (BLOCKS - 1));
    parts.push(await file.read(start, Math.min(BLOCK_BYTES, file.size - start)));
    if (last === 0) break;
  }
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return `${file.size} bytes, ${new Uint8Array(digest).toHex().slice(0, 16)}`;
}

/**
 * The same of the files that a model is made of, by name.
 *
 * @param folder Where they lie.
 * @param weights File of the language model, unless its weights are drawn anew.
 * @param pictures Whether the model has a vision tower, whose folder may have no weights where it is drawn anew.
 */
export async function modelFingerprints(
  { tokenizer, vision }: ModelFolder,
  weights: string | undefined,
  pictures: boolean,
): Promise<Record<string, string>> {
  const files = {
    tokenizer: join(tokenizer, "tokenizer.json"),
    tokenizer_config: join(tokenizer, "tokenizer_config.json"),
    ...pictures && { vision_config: join(vision, "config.json") },
    ...pictures && await DISK.hasWeights(vision) && { vision_tower: await findWeights(vision) },
    ...weights !== undefined && { weights },
  };
  const found = Object.entries(files).map(async (
    [name, path],
  ) => [name, await dataFingerprint(path)]);
  return Object.fromEntries(await Promise.all(found));
}
