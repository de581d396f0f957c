import { FormatError } from "../kernels/runtime/errors.ts";
import type { ByteSource } from "./bytes.ts";
import { TruncatedPickle, unpickle } from "./pickle.ts";
import { openStorage, PTH_GLOBALS } from "./pth_tensors.ts";

/** The number that torch.save wrote first until 2020, as a pickle of protocol 2. */
const MAGIC = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

/** A storage that the value refers to, and where it turned out to be. */
interface StoredAt {
  readonly count: number;
  readonly elementSize: number;
  start?: number;
}

/** Whether a file begins as torch.save's did until 2020. */
export function isLegacyPth(head: Uint8Array): boolean {
  return MAGIC.every((byte, i) => head[i] === byte);
}

/**
 * Reads the value of a file in torch.save's legacy format: the pickles of a magic number, the
 * protocol, the machine, the value and the list of storages, then each storage as its count of
 * elements (int64) and the elements.
 *
 * @param maxLength How long the pickles may be in all, in bytes.
 * @throws {FormatError} if it is truncated or corrupt or refers to what no weight file needs.
 */
export async function readLegacyPth(source: ByteSource, maxLength: number): Promise<unknown> {
  const { name } = source;
  const { value, keys, storages, end } = await readPickles(source, maxLength);
  let at = end;
  for (const key of keys) {
    const storage = storages.get(key);
    if (!storage || storage.start !== undefined) {
      throw new FormatError(`${name} is corrupt: its list of storages does not fit its tensors.`);
    }
    const count = new DataView((await source.read(at, 8)).buffer).getBigUint64(0, true);
    if (count !== BigInt(storage.count)) {
      throw new FormatError(
        `${name} is corrupt: a storage of ${storage.count} elements is said to have ${count}.`,
      );
    }
    storage.start = at + 8;
    at += 8 + storage.count * storage.elementSize;
    await source.read(at, 0); // refuses a truncated file at once
  }
  if (keys.length !== storages.size) {
    throw new FormatError(`${name} is corrupt: it lacks storages of its tensors.`);
  }
  return value;
}

/** Runs the pickles on more and more of the file, as nothing says how long they are. */
async function readPickles(
  source: ByteSource,
  maxLength: number,
): Promise<ReturnType<typeof runPickles>> {
  for (let length = 2 ** 18;; length *= 4) {
    const available = Math.min(length, source.size, maxLength);
    try {
      return runPickles(source, await source.read(0, available));
    } catch (error) {
      if (!(error instanceof TruncatedPickle) || available < length) throw error;
    }
  }
}

function runPickles(
  source: ByteSource,
  bytes: Uint8Array,
): {
  value: unknown;
  keys: readonly unknown[];
  storages: ReadonlyMap<unknown, StoredAt>;
  end: number;
} {
  const { name } = source;
  const storages = new Map<string, StoredAt>();
  const world = {
    name,
    globals: PTH_GLOBALS,
    persistent: (id: unknown) =>
      openStorage(id, name, (key, count, elementSize) => {
        const storage = storages.get(key) ?? { count, elementSize };
        if (storage.count !== count || storage.elementSize !== elementSize) {
          throw new FormatError(`${name} is corrupt: it describes the storage ${key} in two ways.`);
        }
        storages.set(key, storage);
        return (offset, length) => source.read((storage.start ?? NaN) + offset, length);
      }),
  };
  const protocol = unpickle(bytes, MAGIC.length, world);
  const machine = unpickle(bytes, protocol.end, world);
  const { value, end: valueEnd } = unpickle(bytes, machine.end, world);
  const { value: keys, end } = unpickle(bytes, valueEnd, world);
  if (
    protocol.value !== 1001 || !(machine.value instanceof Map) ||
    machine.value.get("little_endian") !== true || !Array.isArray(keys)
  ) {
    throw new FormatError(`${name} is corrupt or was written on a big-endian machine.`);
  }
  return { value, keys, storages, end };
}
