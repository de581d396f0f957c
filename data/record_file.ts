/** Files whose rows may span lines: an index of where each begins and ends, and its line. */

import { checkRow, type GrowingList, readText } from "./data_file.ts";
import type { RowIndex, RowSource } from "./row_source.ts";

/** Numbers that the index keeps of each record: begin and end in bytes, and the line. */
const FIELDS = 3;

/** Adds a record to an index that is being made. */
export function pushRecord(list: GrowingList, begin: number, end: number, line: number): void {
  list.push(begin);
  list.push(end);
  list.push(line);
}

/** How records become rows. */
export interface RecordFormat {
  /** Records before the first row. */
  readonly heading: number;
  /** Makes the row of a record's text. */
  parse(text: string, place: string): unknown;
}

/** A file of records, of which only the index is kept, 24 bytes each. */
export class RecordFile implements RowSource {
  /** The path as it was given. */
  readonly path: string;
  /** Begin, end and line of each record [3 × records]. */
  readonly index: RowIndex;
  readonly #file: Deno.FsFile;
  readonly #format: RecordFormat;

  /** A file whose records are known. */
  constructor(path: string, file: Deno.FsFile, index: RowIndex, format: RecordFormat) {
    this.path = path;
    this.index = index;
    this.#file = file;
    this.#format = format;
  }

  /** Number of rows. */
  get length(): number {
    return this.index.length / FIELDS - this.#format.heading;
  }

  /** Bytes of a row. */
  bytes(index: number): number {
    const at = this.#at(index);
    return this.index[at + 1]! - this.index[at]!;
  }

  /** The place of a row as errors name it: file and line, from 1. */
  place(index: number): string {
    return `${this.path}:${this.index[this.#at(index) + 2]}`;
  }

  /**
   * The row of an index from 0.
   *
   * @throws {DataError} that names file and line, where it cannot be read.
   */
  row(index: number): unknown {
    checkRow(this.path, index, this.length);
    const [begin, end] = this.index.subarray(this.#at(index));
    const place = this.place(index);
    return this.#format.parse(readText(this.#file, place, begin!, end!), place);
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #at(index: number): number {
    return FIELDS * (index + this.#format.heading);
  }
}
