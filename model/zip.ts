import { FormatError } from "../kernels/runtime/errors.ts";
import type { ByteSource } from "./bytes.ts";
import {
  contentStart,
  corruptZip,
  findDirectory,
  LOCAL_HEADER,
  readRecord,
  ZIP_TAIL,
  type ZipRecord,
} from "./zip_directory.ts";

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
  const tail = Math.min(source.size, ZIP_TAIL);
  const { count, length, start } = findDirectory(
    source.name,
    source.size,
    await source.read(source.size - tail, tail),
  );
  const bytes = await source.read(start, length);
  const entries = new Map<string, ZipEntry>();
  for (let i = 0, at = 0; i < count; i++) {
    const record = readRecord(source.name, bytes, at, start);
    const { name, encrypted, method, stored, size } = record;
    if (encrypted || method !== 0 || stored !== size) {
      throw new FormatError(
        `${source.name}: ${name} is compressed or encrypted, which torch.save never does.`,
      );
    }
    if (entries.has(name)) throw corruptZip(source.name, `it holds ${name} twice`);
    entries.set(name, zipEntry(source, record, start));
    at = record.next;
  }
  return entries;
}

function zipEntry(source: ByteSource, record: ZipRecord, directory: number): ZipEntry {
  const { name, size } = record;
  /** Where the contents begin; the header before them is checked at the first read. */
  const findStart = async (): Promise<number> =>
    contentStart(source.name, record, await source.read(record.offset, LOCAL_HEADER), directory);
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
