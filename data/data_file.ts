/** Files of rows: opened, read in ranges, decoded, with errors that name the place. */

import { DataError } from "../kernels/runtime/errors.ts";
import { reasonOf } from "./files.ts";
import type { RowIndex } from "./row_source.ts";

const CHUNK_BYTES = 1 << 20;
const MAX_ROW_BYTES = 1 << 26;
const UTF8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Opens a file and makes something of it; closes it if that fails.
 *
 * @throws {DataError} that names the path, where it cannot be opened or read.
 */
export function openDataFile<T>(path: string, make: (file: Deno.FsFile) => T): T {
  let file: Deno.FsFile | undefined;
  try {
    file = Deno.openSync(path);
    return make(file);
  } catch (error) {
    file?.close();
    if (error instanceof DataError) throw error;
    const missing = error instanceof Deno.errors.NotFound;
    const why = missing ? "does not exist" : `cannot be read: ${reasonOf(error)}`;
    throw new DataError(`The data file ${path} ${why}.`, { cause: error });
  }
}

/** A file's bytes in order, in pieces that are valid until the next is asked for. */
export function* chunksOf(file: Deno.FsFile): Generator<Uint8Array<ArrayBuffer>> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let count = file.readSync(chunk); count !== null; count = file.readSync(chunk)) {
    yield chunk.subarray(0, count);
  }
}

/**
 * Reads a row's bytes as text.
 *
 * @param place Its file and line.
 * @throws {DataError} where it is too long, not UTF-8, or no longer there.
 */
export function readText(file: Deno.FsFile, place: string, begin: number, end: number): string {
  const size = end - begin;
  if (size > MAX_ROW_BYTES) {
    throw new DataError(`${place}: the line of ${size} bytes is longer than 64 MiB.`);
  }
  const bytes = new Uint8Array(size);
  file.seekSync(begin, Deno.SeekMode.Start);
  for (let at = 0; at < size;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) {
      throw new DataError(`${place}: the file has become shorter since it was opened.`);
    }
    at += count;
  }
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new DataError(`${place}: the line is not UTF-8 text.`, { cause });
  }
}

/**
 * Parses a row.
 *
 * @throws {DataError} that names the place, where it is not JSON.
 */
export function parseRow(text: string, place: string): unknown {
  if (text.trim() === "") throw new DataError(`${place}: the line is empty.`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const why = (cause as Error).message.replaceAll(/\s+/g, " "); // it quotes the line
    throw new DataError(`${place}: the line is not valid JSON: ${why}.`, { cause });
  }
}

/**
 * Refuses a row that is not there.
 *
 * @throws {DataError} that names the file.
 */
export function checkRow(path: string, index: number, length: number): void {
  if (!(index >= 0 && index < length)) {
    throw new DataError(`${path} has ${length} rows, and row ${index} was asked for.`);
  }
}

/** Numbers in one buffer that doubles when it is full. */
export class GrowingList {
  /** How many there are. */
  length = 0;
  #values = new Float64Array(1024);

  /** Adds one. */
  push(value: number): void {
    if (this.length === this.#values.length) {
      const values = new Float64Array(2 * this.length);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.length++] = value;
  }

  /** The first ones, in memory that workers can share, after `before`. */
  shared(count: number = this.length, before: readonly number[] = []): RowIndex {
    const values = new Float64Array(new SharedArrayBuffer(8 * (before.length + count)));
    values.set(before);
    values.set(this.#values.subarray(0, count), before.length);
    return values;
  }
}
