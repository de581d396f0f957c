/** Zip archives of any size: one file after the other, or by name from an index that workers share. */

import { DataError, FormatError } from "../kernels/runtime/errors.ts";
import { crc32 } from "../model/crc32.ts";
import { reasonOf } from "./files.ts";
import {
  contentStart,
  findDirectory,
  LOCAL_HEADER,
  readRecord,
  ZIP_TAIL,
  type ZipRecord,
} from "../model/zip_directory.ts";

/** What finds a file by name: the archive's own list and a hash table into it. */
export interface ZipIndex {
  /** The list of files. */
  readonly directory: Uint8Array<SharedArrayBuffer>;
  /** Where it begins in the archive. */
  readonly start: number;
  /** How many records it has. */
  readonly count: number;
  /** By the hash of a name: where its record begins, plus one; 0 for none. */
  readonly slots: Uint32Array<SharedArrayBuffer>;
  /** The folder that all files are in, with its slash; empty where there are several. */
  readonly folder: string;
}

const CHUNK = 1 << 16;
const ENCODER = new TextEncoder();

/** An open archive. */
export class ZipArchive implements Disposable {
  /** The path as it was given. */
  readonly path: string;
  /** What opens the same archive faster. */
  readonly index: ZipIndex;
  /** Its length in bytes. */
  readonly size: number;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile, size: number, index: ZipIndex) {
    this.path = path;
    this.size = size;
    this.index = index;
    this.#file = file;
  }

  /**
   * Opens an archive and reads its list of files once, unless it is known.
   *
   * @param index That of the same archive, opened before.
   * @throws {FormatError} where it is truncated or corrupt.
   * @throws {DataError} where it cannot be opened.
   */
  static open(path: string, index?: ZipIndex): ZipArchive {
    let file: Deno.FsFile | undefined;
    try {
      file = Deno.openSync(path);
      const { size } = file.statSync();
      return new ZipArchive(path, file, size, index ?? readIndex(path, file, size));
    } catch (error) {
      file?.close();
      if (error instanceof FormatError) throw error;
      const missing = error instanceof Deno.errors.NotFound;
      const why = missing ? "does not exist" : `cannot be read: ${reasonOf(error)}`;
      throw new DataError(`The archive ${path} ${why}.`, { cause: error });
    }
  }

  /** The records of all files and folders in their order. */
  *records(): Generator<ZipRecord> {
    const { directory, start, count } = this.index;
    for (let i = 0, at = 0; i < count; i++) {
      const record = readRecord(this.path, directory, at, start);
      yield record;
      at = record.next;
    }
  }

  /**
   * Finds a file by its name; where all files are in one folder, that may be left out.
   *
   * @throws {FormatError} where its record is broken.
   */
  find(name: string): ZipRecord | undefined {
    const { folder } = this.index;
    const plain = name.replace(/^(\.?\/)+/, "");
    return this.#lookUp(plain) ?? (folder ? this.#lookUp(folder + plain) : undefined);
  }

  /**
   * The contents of a file in pieces, inflated; no more than its announced size.
   *
   * @throws {FormatError} where they are encrypted, compressed in another way than by deflate, or
   * not what the list says in length or checksum.
   */
  async *contents(record: ZipRecord): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { name, encrypted, method, size, crc } = record;
    const broken = (why: string) => new FormatError(`${this.path}: ${name} ${why}.`);
    if (encrypted) throw broken("is encrypted");
    if (method !== 0 && method !== 8) {
      throw broken(`is compressed by method ${method}, not deflate`);
    }
    const header = readAt(this.#file, record.offset, LOCAL_HEADER);
    const start = contentStart(this.path, record, header, this.index.start);
    const stored = this.#stored(start, record.stored);
    let sum = 0, length = 0;
    try {
      for await (const piece of method === 8 ? inflate(stored) : stored) {
        length += piece.length;
        if (length > size) throw broken(`is longer than the ${size} bytes that it announces`);
        sum = crc32(piece, sum);
        yield piece;
      }
    } catch (cause) {
      if (cause instanceof FormatError) throw cause;
      throw new FormatError(`${this.path}: ${name} is corrupt: ${(cause as Error).message}.`, {
        cause,
      });
    }
    if (length !== size || sum !== crc) throw broken("is corrupt: length or checksum is wrong");
  }

  /** Closes the archive. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  *#stored(start: number, length: number): Generator<Uint8Array<ArrayBuffer>> {
    for (let at = 0; at < length; at += CHUNK) {
      yield readAt(this.#file, start + at, Math.min(CHUNK, length - at));
    }
  }

  #lookUp(name: string): ZipRecord | undefined {
    const { directory, slots, start } = this.index;
    const bytes = ENCODER.encode(name);
    const slot = findSlot(slots, directory, bytes);
    const at = slots[slot]!;
    return at === 0 ? undefined : readRecord(this.path, directory, at - 1, start);
  }
}

async function* inflate(
  pieces: Iterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield* ReadableStream.from(pieces).pipeThrough(new DecompressionStream("deflate-raw"));
}

function readAt(file: Deno.FsFile, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let at = 0; at < length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) throw new FormatError("the archive has become shorter");
    at += count;
  }
  return bytes;
}

function readIndex(path: string, file: Deno.FsFile, size: number): ZipIndex {
  const tail = Math.min(size, ZIP_TAIL);
  const { count, length, start } = findDirectory(path, size, readAt(file, size - tail, tail));
  const directory = new Uint8Array(new SharedArrayBuffer(length));
  directory.set(readAt(file, start, length));
  const slotCount = 2 ** Math.ceil(Math.log2(2 * count + 2));
  const slots = new Uint32Array(new SharedArrayBuffer(4 * slotCount));
  let folder: string | undefined;
  for (let i = 0, at = 0; i < count; i++) {
    const { name, next } = readRecord(path, directory, at, start);
    slots[findSlot(slots, directory, nameAt(directory, at))] = at + 1;
    const top = name.slice(0, name.indexOf("/") + 1);
    folder = folder === undefined || folder === top ? top : "";
    at = next;
  }
  return { directory, start, count, slots, folder: folder ?? "" };
}

/** The slot of a name, or the empty one that it would get. */
function findSlot(slots: Uint32Array, directory: Uint8Array, name: Uint8Array): number {
  let hash = 0x811c9dc5; // FNV-1a
  for (const byte of name) hash = Math.imul(hash ^ byte, 0x01000193);
  for (let slot = hash & (slots.length - 1);; slot = (slot + 1) & (slots.length - 1)) {
    const at = slots[slot]!;
    if (at === 0 || isEqual(nameAt(directory, at - 1), name)) return slot;
  }
}

function nameAt(directory: Uint8Array, at: number): Uint8Array {
  const length = directory[at + 28]! + 256 * directory[at + 29]!;
  return directory.subarray(at + 46, at + 46 + length);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
