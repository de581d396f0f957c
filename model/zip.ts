import { FormatError } from "../kernels/runtime/errors.ts";
import type { ByteSource } from "./bytes.ts";

/** The longest list of files that is read, in bytes. */
const MAX_DIRECTORY_LENGTH = 2 ** 28;

/** A file in a zip archive that is stored as it is. */
export interface ZipEntry {
  /** Its name, with the folders. */
  readonly name: string;
  /** How many bytes it has. */
  readonly size: number;
  /** Reads a range of its bytes. */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Lists a zip archive, zip64 included, whose files are stored (not compressed), as PyTorch's are.
 * The contents are read when asked.
 *
 * Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
 *
 * @throws {FormatError} if the archive is truncated, corrupt, encrypted or compressed.
 */
export async function readZip(source: ByteSource): Promise<Map<string, ZipEntry>> {
  const { count, length, start } = await findDirectory(source);
  if (length > MAX_DIRECTORY_LENGTH || count * 46 > length) {
    throw corrupt(source, `its directory of ${count} files would have ${length} bytes`);
  }
  const bytes = await source.read(start, length);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { entry, next } = readDirectoryEntry(source, bytes, at, start);
    if (entries.has(entry.name)) throw corrupt(source, `it holds ${entry.name} twice`);
    entries.set(entry.name, entry);
    at = next;
  }
  return entries;
}

function corrupt(source: ByteSource, why: string): FormatError {
  return new FormatError(`${source.name} is not a whole zip archive: ${why}.`);
}

/** Reads the records at the archive's end, which say where its list of files is. */
async function findDirectory(
  source: ByteSource,
): Promise<{ count: number; length: number; start: number }> {
  const tailLength = Math.min(source.size, 22 + 65535);
  const tailStart = source.size - tailLength;
  const tail = view(await source.read(tailStart, tailLength));
  let at = tailLength - 22;
  while (at >= 0 && !(tail.getUint32(at, true) === 0x06054b50 && fits(tail, at))) at--;
  if (at < 0) throw corrupt(source, "the end of its directory is missing, so it is truncated");
  const locator = at - 20;
  if (locator < 0 || tail.getUint32(locator, true) !== 0x07064b50) {
    return {
      count: tail.getUint16(at + 10, true),
      length: tail.getUint32(at + 12, true),
      start: tail.getUint32(at + 16, true),
    };
  }
  const offset = uint64(tail, locator + 8);
  const record = view(await source.read(offset, 56));
  if (record.getUint32(0, true) !== 0x06064b50) throw corrupt(source, "its zip64 record is broken");
  return { count: uint64(record, 32), length: uint64(record, 40), start: uint64(record, 48) };
}

/** Whether the comment after an end record reaches exactly to the end of the archive. */
function fits(tail: DataView, at: number): boolean {
  return at + 22 + tail.getUint16(at + 20, true) === tail.byteLength;
}

function readDirectoryEntry(
  source: ByteSource,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  directory: number,
): { entry: ZipEntry; next: number } {
  const data = view(bytes);
  if (at + 46 > bytes.length || data.getUint32(at, true) !== 0x02014b50) {
    throw corrupt(source, "an entry of its directory is broken");
  }
  const nameLength = data.getUint16(at + 28, true);
  const extraLength = data.getUint16(at + 30, true);
  const extra = at + 46 + nameLength;
  const next = extra + extraLength + data.getUint16(at + 32, true);
  if (next > bytes.length) throw corrupt(source, "an entry of its directory is cut off");
  const name = new TextDecoder().decode(bytes.subarray(at + 46, extra));
  const encrypted = data.getUint16(at + 8, true) & 1;
  const method = data.getUint16(at + 10, true);
  let stored = data.getUint32(at + 20, true);
  let size = data.getUint32(at + 24, true);
  let offset = data.getUint32(at + 42, true);
  for (let field = extra; field + 4 <= extra + extraLength;) {
    const end = field + 4 + data.getUint16(field + 2, true);
    if (end > extra + extraLength) throw corrupt(source, `${name} has a broken extra field`);
    if (data.getUint16(field, true) === 1) {
      let value = field + 4;
      const wide = (narrow: number) => {
        if (narrow !== 0xffffffff) return narrow;
        if (value + 8 > end) throw corrupt(source, `${name} has a broken zip64 field`);
        value += 8;
        return uint64(data, value - 8);
      };
      size = wide(size);
      stored = wide(stored);
      offset = wide(offset);
    }
    field = end;
  }
  if (encrypted || method !== 0 || stored !== size) {
    throw new FormatError(
      `${source.name}: ${name} is compressed or encrypted, which torch.save never does.`,
    );
  }
  if (offset + 30 + size > directory) {
    throw corrupt(source, `${name} with ${size} bytes at byte ${offset} does not fit into it`);
  }
  return { entry: zipEntry(source, name, offset, size, directory), next };
}

function zipEntry(
  source: ByteSource,
  name: string,
  header: number,
  size: number,
  directory: number,
): ZipEntry {
  /** Where the contents begin; the header before them is checked at the first read. */
  const findStart = async (): Promise<number> => {
    const local = view(await source.read(header, 30));
    const start = header + 30 + local.getUint16(26, true) + local.getUint16(28, true);
    if (local.getUint32(0, true) !== 0x04034b50 || start + size > directory) {
      throw corrupt(source, `the header of ${name} is broken`);
    }
    return start;
  };
  let start: Promise<number> | undefined;
  return {
    name,
    size,
    async read(offset, length) {
      if (offset < 0 || length < 0 || offset + length > size) {
        throw new FormatError(
          `${source.name}: ${length} bytes were wanted at byte ${offset} of ${name}, ` +
            `which has ${size}.`,
        );
      }
      return await source.read(await (start ??= findStart()) + offset, length);
    },
  };
}

function view(bytes: Uint8Array<ArrayBuffer>): DataView<ArrayBuffer> {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A 64-bit number; beyond 2⁵³ it is inexact, and then larger than any file. */
function uint64(data: DataView, at: number): number {
  return Number(data.getBigUint64(at, true));
}
