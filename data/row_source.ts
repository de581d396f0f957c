/** Data sets of several formats behind one interface: rows by number, errors by place. */

/** What finds the rows of a file again without going through it; workers share it. */
export type RowIndex = Float64Array<SharedArrayBuffer>;

/** Rows of a data set, read by number. */
export interface RowSource extends Disposable {
  /** The path as it was given. */
  readonly path: string;
  /** Number of rows. */
  readonly length: number;
  /** What opens the same file faster. */
  readonly index: RowIndex;
  /** Where parts end whose rows are best read one after the other; all of the file if left out. */
  readonly sections?: readonly number[];
  /** About how many bytes a row has, by which rows of like length meet. */
  bytes(index: number): number;
  /** The place of a row as errors name it: file and line or row, from 1. */
  place(index: number): string;
  /**
   * A row as JSON has it, `{"image": …, "conversations": […]}`, not checked; or a promise of it.
   * Where pictures are in the file itself, `image` is a list of bytes.
   *
   * @throws {DataError} that names the place, where it cannot be read.
   */
  row(index: number): unknown;
}
