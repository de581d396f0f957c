import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Tensor } from "./runtime/tensor.ts";

/** Rows of a tile of `Sequences.tiles`. Kernels may cut a tile further. */
export const TILE = 64;

/** Where the sequences of a batch lie among its packed rows: row after row, without padding. */
export interface Sequences extends Disposable {
  /** Rows of each sequence. */
  readonly lengths: readonly number[];
  /** First row of each sequence. */
  readonly offsets: readonly number[];
  /** Rows in all, T. */
  readonly total: number;
  /** Rows of the longest sequence. */
  readonly longest: number;
  /** Each row's position in its sequence, from 0: uint32 [T]. */
  readonly positions: Tensor;
  /**
   * The sequences cut into tiles of at most `TILE` rows: uint32 [tiles, 4], for each its first row, its number of rows,
   * and the first row and the row after the last of its sequence.
   */
  readonly tiles: Tensor;
  /** The same, those furthest into their sequence first: causal queries that see the most keys, and last the keys that the most see. */
  readonly furthestFirst: Tensor;
  /** All of these, which a tape keeps that computes again what reads them. */
  readonly tensors: readonly Tensor[];
}

/**
 * Describes packed sequences of the given lengths to the kernels. What it makes on the device belongs to the innermost
 * scope; without one, dispose of it.
 *
 * ```ts ignore
 * using sequences = packSequences(gpu, [197, 12, 63]);
 * const y = attention(qkv, sequences, { heads: 8, kvHeads: 2, headDim: 64, causal: true });
 * ```
 *
 * @throws {ShapeError} when a length is not a positive whole number, or there is none.
 */
export function packSequences(gpu: Gpu, lengths: readonly number[]): Sequences {
  const wrong = lengths.find((length) => !(Number.isInteger(length) && length > 0));
  if (lengths.length === 0 || wrong !== undefined) {
    throw new ShapeError(
      `Sequences need positive whole lengths, not [${lengths}]. Leave empty sequences out.`,
    );
  }
  const total = lengths.reduce((a, b) => a + b);
  const positions = new Uint32Array(total);
  const offsets: number[] = [];
  const tiles: [first: number, count: number, start: number, end: number][] = [];
  let end = 0;
  for (const length of lengths) {
    const start = end;
    end += length;
    offsets.push(start);
    for (let i = 0; i < length; i++) positions[start + i] = i;
    for (let i = 0; i < length; i += TILE) {
      tiles.push([start + i, Math.min(TILE, length - i), start, end]);
    }
  }
  const furthestFirst = tiles.toSorted((a, b) => (b[0] - b[2]) - (a[0] - a[2]));
  const onDevice = {
    positions: gpu.tensor(positions, [total], "positions"),
    tiles: gpu.tensor(Uint32Array.from(tiles.flat()), [tiles.length, 4], "tiles"),
    furthestFirst: gpu.tensor(Uint32Array.from(furthestFirst.flat()), [tiles.length, 4], "tiles"),
  };
  return {
    lengths: [...lengths],
    offsets,
    total,
    longest: lengths.reduce((a, b) => Math.max(a, b)),
    ...onDevice,
    tensors: Object.values(onDevice),
    [Symbol.dispose](): void {
      onDevice.positions.dispose();
      onDevice.tiles.dispose();
      onDevice.furthestFirst.dispose();
    },
  };
}
