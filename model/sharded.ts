import { FormatError } from "../kernels/runtime/errors.ts";
import type { ByteSource } from "./bytes.ts";
import type { HostTensor } from "./host_tensor.ts";
import { isRecord, parseStrictJson } from "./strict_json.ts";
import type { WeightFile } from "./weight_file.ts";

/** The longest index that is read, in bytes. */
const MAX_INDEX_LENGTH = 100_000_000;

/**
 * Opens weights that are split over several files, by their index (`model.safetensors.index.json`
 * or `pytorch_model.bin.index.json`), whose `weight_map` says which file holds which tensor.
 *
 * @param open Opens a file beside the index by its plain name.
 * @throws {FormatError} if the index is not one, names a file elsewhere, or is at odds with a file.
 */
export async function readSharded(
  index: ByteSource,
  open: (file: string) => Promise<WeightFile>,
): Promise<WeightFile> {
  const { name, size } = index;
  if (size > MAX_INDEX_LENGTH) throw new FormatError(`${name} is too long for an index.`);
  const { weight_map: map, metadata } = parseStrictJson(await index.read(0, size), name);
  if (!isRecord(map)) throw new FormatError(`${name} is not an index: it has no weight_map.`);
  const shards = new Map<string, WeightFile>();
  const tensors = new Map<string, HostTensor>();
  for (const [key, file] of Object.entries(map)) {
    if (typeof file !== "string" || !/^[\w-][\w.-]*$/.test(file)) {
      throw new FormatError(
        `${name} puts ${key} into ${
          JSON.stringify(file)
        }, which is not the name of a file beside it.`,
      );
    }
    const shard = shards.get(file) ?? await open(file);
    shards.set(file, shard);
    const tensor = shard.tensors.get(key);
    if (!tensor) throw new FormatError(`${name} puts ${key} into ${file}, which does not hold it.`);
    tensors.set(key, tensor);
  }
  for (const [file, shard] of shards) {
    const unknown = [...shard.tensors.keys()].filter((key) => map[key] !== file);
    if (unknown.length) {
      throw new FormatError(`${file} holds tensors that ${name} does not put there: ${unknown}.`);
    }
  }
  const remarks = isRecord(metadata) ? Object.entries(metadata) : [];
  return { tensors, metadata: Object.fromEntries(remarks.map(([k, v]) => [k, String(v)])) };
}
