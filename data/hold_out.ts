import { Random } from "../model/random.ts";

/** Rows of a data set that train, and rows that do not. */
export interface Split {
  /** Rows to train with, in the file's order. */
  readonly train: Uint32Array;
  /** Rows held out, likewise. */
  readonly held: Uint32Array;
}

/** Holds out a share of `length` rows, drawn by a seed; at least one row is on either side where there are two. */
export function holdOut(length: number, share: number, seed: number): Split {
  const order = Uint32Array.from({ length }, (_, i) => i);
  new Random(seed).fork("held out").shuffle(order);
  const most = Math.max(0, length - 1);
  const count = Math.min(most, Math.max(Math.min(1, most), Math.round(length * share)));
  return { train: order.slice(count).sort(), held: order.slice(0, count).sort() };
}
