import { FormatError } from "../kernels/runtime/errors.ts";
import type { ByteSource } from "./bytes.ts";
import { type HostTensor, isHostTensor } from "./host_tensor.ts";
import { unpickle } from "./pickle.ts";
import { isLegacyPth, readLegacyPth } from "./pth_legacy.ts";
import { openStorage, PTH_GLOBALS } from "./pth_tensors.ts";
import type { WeightFile } from "./weight_file.ts";
import { readZip, type ZipEntry } from "./zip.ts";

/** The longest description of the tensors (`data.pkl`) that is read, in bytes. */
const MAX_PICKLE_LENGTH = 2 ** 25;
/** The deepest nesting of lists, tuples and dictionaries that is read. */
const MAX_DEPTH = 100;

/** A value of a checkpoint: dictionaries are Maps, lists and tuples arrays. */
export type PthValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | HostTensor
  | readonly PthValue[]
  | ReadonlyMap<PthValue, PthValue>;

/**
 * Opens what torch.save wrote (`.pth`, `pytorch_model.bin`), in its zip or its legacy format, and
 * gives the value that it holds. Only tensors and plain data are read, and nothing is executed:
 * any other class or function that the file refers to is refused by its name. Tensors are read
 * when asked.
 *
 * @throws {FormatError} if the file is truncated, corrupt, unsafe or not a checkpoint.
 */
export async function readPth(source: ByteSource): Promise<PthValue> {
  const head = await source.read(0, Math.min(source.size, 16));
  const value = isLegacyPth(head)
    ? await readLegacyPth(source, MAX_PICKLE_LENGTH)
    : await readZipPth(source);
  checkValue(value, source.name);
  return value;
}

/**
 * Opens a state dict that torch.save wrote: a dictionary from names to tensors, at the top or
 * under `model` or `state_dict`, as resumable checkpoints have it.
 *
 * @throws {FormatError} if the file is truncated, corrupt, unsafe or holds something else.
 */
export async function readStateDict(source: ByteSource): Promise<WeightFile> {
  const value = await readPth(source);
  const top = value instanceof Map ? value : new Map<PthValue, PthValue>();
  const inner = top.get("model") ?? top.get("state_dict");
  const state: ReadonlyMap<PthValue, PthValue> = inner instanceof Map ? inner : top;
  const tensors = new Map<string, HostTensor>();
  const others: PthValue[] = [];
  for (const [name, tensor] of state) {
    if (typeof name === "string" && isHostTensor(tensor)) tensors.set(name, { ...tensor, name });
    else others.push(name);
  }
  if (others.length || state.size === 0) {
    throw new FormatError(
      `${source.name} does not hold a state dict, which maps names to tensors` +
        (others.length ? `; no tensors are: ${others.map(String).join(", ")}.` : "."),
    );
  }
  return { tensors, metadata: {} };
}

async function readZipPth(source: ByteSource): Promise<unknown> {
  const { name } = source;
  const entries = await readZip(source);
  const pickles = [...entries.values()].filter((entry) => /^[^/]*\/data\.pkl$/.test(entry.name));
  const [pickle] = pickles;
  if (!pickle || pickles.length > 1 || pickle.size > MAX_PICKLE_LENGTH) {
    throw new FormatError(`${name} was not written by torch.save: it lacks a data.pkl to read.`);
  }
  const root = pickle.name.slice(0, -"data.pkl".length);
  if (await readText(entries.get(`${root}byteorder`)) === "big") {
    throw new FormatError(`${name} was written on a big-endian machine, which is not supported.`);
  }
  const bytes = await pickle.read(0, pickle.size);
  const world = {
    name,
    globals: PTH_GLOBALS,
    persistent: (id: unknown) =>
      openStorage(id, name, (key, count, elementSize) => {
        const entry = entries.get(`${root}data/${key}`);
        if (entry?.size !== count * elementSize) {
          throw new FormatError(
            `${name} is corrupt: ${root}data/${key} should have ${count * elementSize} bytes, ` +
              (entry ? `but has ${entry.size}.` : "but is missing."),
          );
        }
        return (offset, length) => entry.read(offset, length);
      }),
  };
  return unpickle(bytes, 0, world).value;
}

async function readText(entry: ZipEntry | undefined): Promise<string | undefined> {
  return entry && new TextDecoder().decode(await entry.read(0, Math.min(entry.size, 16)));
}

/** Makes sure that a value is plain data and tensors, and that whoever walks it comes to an end. */
function checkValue(value: unknown, name: string): asserts value is PthValue {
  const heights = new Map<unknown, number>();
  const height = (node: unknown, depth: number): number => {
    const known = heights.get(node) ?? 0;
    if (depth + known > MAX_DEPTH) {
      throw new FormatError(`${name} nests its values more than ${MAX_DEPTH} deep.`);
    }
    if (known) return known;
    let tallest = 0;
    if (Array.isArray(node)) {
      for (const item of node) tallest = Math.max(tallest, height(item, depth + 1));
    } else if (node instanceof Map) {
      for (const [key, item] of node) {
        tallest = Math.max(tallest, height(key, depth + 1), height(item, depth + 1));
      }
    } else if (isPlain(node)) return 0;
    else throw new FormatError(`${name} holds something that is neither plain data nor a tensor.`);
    heights.set(node, tallest + 1);
    return tallest + 1;
  };
  height(value, 0);
}

function isPlain(value: unknown): boolean {
  return value === null || value instanceof Uint8Array || isHostTensor(value) ||
    ["boolean", "number", "bigint", "string"].includes(typeof value);
}
