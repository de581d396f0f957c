/** JSON Lines files of any size, read row by row. */

import { checkRow, chunksOf, GrowingList, openDataFile, parseRow, readText } from "./data_file.ts";
import type { RowIndex, RowSource } from "./row_source.ts";

const NEWLINE = 10;

/**
 * A file with one JSON value a line. Only the offsets of its lines are kept, 8 bytes each.
 *
 * A byte order mark and blank lines at the end are passed over.
 */
export class JsonlFile implements RowSource {
  /** The path as it was given. */
  readonly path: string;
  /** Where the rows begin, in bytes, and after them where the last one ends [length + 1]. */
  readonly index: RowIndex;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile, index: RowIndex) {
    this.path = path;
    this.index = index;
    this.#file = file;
  }

  /**
   * Opens a file and finds its lines in one pass, unless they are known.
   *
   * @param index That of the same file, opened before.
   * @throws {DataError} where it cannot be opened.
   */
  static open(path: string, index?: RowIndex): JsonlFile {
    return openDataFile(path, (file) => new JsonlFile(path, file, index ?? findLines(file)));
  }

  /** Number of rows. */
  get length(): number {
    return this.index.length - 1;
  }

  /** Bytes of a row, its line's end included. */
  bytes(index: number): number {
    return this.index[index + 1]! - this.index[index]!;
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
    checkRow(this.path, index, this.length);
    const place = this.place(index);
    return parseRow(
      readText(this.#file, place, this.index[index]!, this.index[index + 1]!),
      place,
    );
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

function findLines(file: Deno.FsFile): RowIndex {
  const ends = new GrowingList();
  let at = 0, lastFilled = 0; // rows up to and with the last one that is not blank
  for (const chunk of chunksOf(file)) {
    for (let from = 0; from < chunk.length;) {
      const newline = chunk.indexOf(NEWLINE, from);
      const to = newline < 0 ? chunk.length : newline;
      if (lastFilled <= ends.length && !isBlank(chunk, from, to)) lastFilled = ends.length + 1;
      if (newline >= 0) ends.push(at + newline + 1);
      from = to + 1;
    }
    at += chunk.length;
  }
  if (lastFilled > ends.length) ends.push(at);
  return ends.shared(lastFilled, [0]);
}

const BLANKS = [9, 11, 12, 13, 32, 0xef, 0xbb, 0xbf]; // white space and the byte order mark

function isBlank(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (!BLANKS.includes(bytes[i]!)) return false;
  return true;
}
