/** JSON Lines files of any size, read row by row. */

import { DataError } from "../kernels/runtime/errors.ts";

/** Where the rows of a file begin, and after them where the last one ends. Workers share it. */
export type LineOffsets = Float64Array<SharedArrayBuffer>;

const NEWLINE = 10;
const CHUNK_BYTES = 1 << 20;
const MAX_ROW_BYTES = 1 << 26;

/**
 * A file with one JSON value a line. Only the offsets of its lines are kept, 8 bytes each.
 *
 * A byte order mark and blank lines at the end are passed over.
 */
export class JsonlFile implements Disposable {
  /** The path as it was given. */
  readonly path: string;
  /** The rows' offsets in bytes, [length + 1]. */
  readonly offsets: LineOffsets;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile, offsets: LineOffsets) {
    this.path = path;
    this.offsets = offsets;
    this.#file = file;
  }

  /**
   * Opens a file and finds its lines in one pass, unless their offsets are known.
   *
   * @param offsets Those of the same file, opened before.
   * @throws {DataError} where it cannot be opened.
   */
  static open(path: string, offsets?: LineOffsets): JsonlFile {
    let file: Deno.FsFile | undefined;
    try {
      file = Deno.openSync(path);
      return new JsonlFile(path, file, offsets ?? findLines(file));
    } catch (error) {
      file?.close();
      const missing = error instanceof Deno.errors.NotFound;
      const why = missing ? "does not exist" : `cannot be read: ${(error as Error).message}`;
      throw new DataError(`The data file ${path} ${why}.`, { cause: error });
    }
  }

  /** Number of rows. */
  get length(): number {
    return this.offsets.length - 1;
  }

  /** Bytes of a row, its line's end included. */
  bytes(index: number): number {
    return this.offsets[index + 1]! - this.offsets[index]!;
  }

  /** The place of a row as errors name it: file and line, from 1. */
  place(index: number): string {
    return `${this.path}:${index + 1}`;
  }

  /**
   * The parsed row of an index from 0.
   *
   * @throws {DataError} that names file and line, where it is not JSON or is no longer there.
   */
  row(index: number): unknown {
    if (!(index >= 0 && index < this.length)) {
      throw new DataError(`${this.path} has ${this.length} rows, and row ${index} was asked for.`);
    }
    const size = this.bytes(index);
    if (size > MAX_ROW_BYTES) {
      throw new DataError(`${this.place(index)}: the line of ${size} bytes is longer than 64 MiB.`);
    }
    const bytes = this.#read(index, size);
    let text: string;
    try {
      text = UTF8.decode(bytes);
    } catch (cause) {
      throw new DataError(`${this.place(index)}: the line is not UTF-8 text.`, { cause });
    }
    if (text.trim() === "") throw new DataError(`${this.place(index)}: the line is empty.`);
    try {
      return JSON.parse(text);
    } catch (cause) {
      const why = (cause as Error).message;
      throw new DataError(`${this.place(index)}: the line is not valid JSON: ${why}.`, { cause });
    }
  }

  #read(index: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    this.#file.seekSync(this.offsets[index]!, Deno.SeekMode.Start);
    for (let at = 0; at < size;) {
      const count = this.#file.readSync(bytes.subarray(at));
      if (count === null) {
        throw new DataError(
          `${this.place(index)}: the file has become shorter since it was opened.`,
        );
      }
      at += count;
    }
    return bytes;
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });

function findLines(file: Deno.FsFile): LineOffsets {
  const chunk = new Uint8Array(CHUNK_BYTES);
  const ends = new GrowingList();
  let at = 0, lastFilled = 0; // rows up to and with the last one that is not blank
  for (let count = file.readSync(chunk); count !== null; count = file.readSync(chunk)) {
    const read = chunk.subarray(0, count);
    for (let from = 0; from < count;) {
      const newline = read.indexOf(NEWLINE, from);
      const to = newline < 0 ? count : newline;
      if (lastFilled <= ends.length && !isBlank(read, from, to)) lastFilled = ends.length + 1;
      if (newline >= 0) ends.push(at + newline + 1);
      from = to + 1;
    }
    at += count;
  }
  if (lastFilled > ends.length) ends.push(at);
  const offsets = new Float64Array(new SharedArrayBuffer(8 * (lastFilled + 1)));
  offsets.set(ends.first(lastFilled), 1);
  return offsets;
}

const BLANKS = [9, 11, 12, 13, 32, 0xef, 0xbb, 0xbf]; // white space and the byte order mark

function isBlank(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (!BLANKS.includes(bytes[i]!)) return false;
  return true;
}

/** Numbers in one buffer that doubles when it is full. */
class GrowingList {
  length = 0;
  #values = new Float64Array(1024);

  push(value: number): void {
    if (this.length === this.#values.length) {
      const values = new Float64Array(2 * this.length);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.length++] = value;
  }

  first(count: number): Float64Array {
    return this.#values.subarray(0, count);
  }
}
