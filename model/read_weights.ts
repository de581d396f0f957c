import { FormatError } from "../kernels/runtime/errors.ts";
import type { ByteSource } from "./bytes.ts";
import { readStateDict } from "./pth.ts";
import { isLegacyPth } from "./pth_legacy.ts";
import { readSafetensors } from "./safetensors.ts";
import { readSharded } from "./sharded.ts";
import type { WeightFile } from "./weight_file.ts";

/** What a folder's weights may be called, the best first. */
export const WEIGHT_NAMES: readonly string[] = [
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
];

/** What a file's first bytes say that it is. */
export type WeightFormat = "pth" | "safetensors" | "index";

/**
 * Tells by its content what kind of weight file this is.
 *
 * @throws {FormatError} if it is none.
 */
export async function weightFormat(source: ByteSource): Promise<WeightFormat> {
  const head = await source.read(0, Math.min(source.size, 64));
  const text = new TextDecoder("latin1").decode(head);
  if (text.startsWith("PK\x03\x04") || isLegacyPth(head)) return "pth";
  if (text[8] === "{" && text[7] === "\0") return "safetensors";
  if (/^\s*\{/.test(text)) return "index";
  const what = source.size === 0
    ? "is empty"
    : text.startsWith("version https://git-lfs")
    ? "is a Git LFS pointer in place of the file; run `git lfs pull` where it came from"
    : "is not a weight file: neither PyTorch's (.pth, .bin) nor safetensors nor an index of them";
  throw new FormatError(`${source.name} ${what}.`);
}

/**
 * Opens a weight file of any kind.
 *
 * @param beside Opens the files that an index names; without it an index is refused.
 * @throws {FormatError} if it is truncated, corrupt or unsafe.
 */
export async function readWeights(
  source: ByteSource,
  beside?: (file: string) => Promise<ByteSource>,
): Promise<WeightFile> {
  const format = await weightFormat(source);
  if (format === "pth") return await readStateDict(source);
  if (format === "safetensors") return await readSafetensors(source);
  if (beside) return await readSharded(source, async (file) => readWeights(await beside(file)));
  throw new FormatError(`${source.name} is JSON, where a file of tensors was expected.`);
}
