import type { Gpu } from "../runtime/gpu.ts";
import { roundUp } from "../runtime/kernel.ts";
import { type Block, blockCounts, blockKernel, blockParams, type Packings } from "./block.ts";
import { BLOCK_SIDE } from "./image.ts";
import { type Operand, pack, packs, type Panel, readsPacked, ROWS, STEPS } from "./pack.ts";
import { addends, type Layout, type Product } from "./problem.ts";

/** The block of these products. */
export const BLOCK: Block = { rows: BLOCK_SIDE, quads: 2 };

/** How the operands of a layout lie. */
export const PACKINGS: Readonly<Record<Layout, Packings>> = {
  NT: ["along", "along"],
  NN: ["along", "across"],
  TN: ["across", "across"],
};

/** Whether this kernel takes a product: operands that can be packed, and results that can be stored four by four. */
export function softwareTakes(
  gpu: Gpu,
  { layout, m, n, k }: Pick<Product, "layout" | "m" | "n" | "k">,
): boolean {
  return readsPacked(gpu) && n % 4 === 0 && packs({ rows: m, k, across: layout === "TN" }) &&
    packs({ rows: n, k, across: layout !== "NT" });
}

/** A product on a processor that poses as a GPU with 8 lanes: parts of the operands are packed, and multiplied by `blockKernel`. */
export function softwareProduct(product: Product): void {
  const { layout, out, m, n, k } = product;
  const right = rightOf(product);
  const packRight = (panel: Panel) => pack("right operand", right, panel);
  for (const part of packedParts(leftOf(product), n, ROWS, packRight)) {
    const { start, steps, textures, extents, counts } = part;
    const epilogue = {
      ...start === 0 ? product : { accumulate: true },
      activation: start + steps === k ? product.activation : undefined,
    };
    out.gpu.run(
      blockKernel(out.gpu, BLOCK, PACKINGS[layout], "float32", epilogue),
      [...textures, ...addends(product), out],
      blockParams({ m, n, ...extents }),
      counts,
    );
  }
}

/** What of a product says how its operands lie in their buffers. */
type Factors = Pick<Product, "layout" | "a" | "b" | "m" | "n" | "k" | "precision">;

/** The left operand of a product. */
export function leftOf({ layout, a, m, k, precision }: Factors): Operand {
  return { tensor: a, first: 0, rows: m, k, across: layout === "TN", precision, again: 1 };
}

/** The right operand of a product, which begins at a number of its tensor. */
export function rightOf({ layout, b, n, k, precision }: Factors, first = 0): Operand {
  return { tensor: b, first, rows: n, k, across: layout !== "NT", precision, again: 4 };
}

/** A part of a product whose operands are in textures. */
export interface PackedPart {
  /** The first step of k. */
  readonly start: number;
  /** The number of steps. */
  readonly steps: number;
  /** What it is multiplied from, as `blockKernel` binds it; there until the next part is asked for. */
  readonly textures: readonly [right: GPUTexture, left: GPUTexture];
  /** Where it is in the result, for `blockParams`. */
  readonly extents: { readonly quads: number; readonly row: number; readonly column: number };
  /** Workgroups of `BLOCK`. */
  readonly counts: [number, number];
}

/**
 * The parts of a product, those of the first steps of k before the others.
 *
 * @param n Columns of the result.
 * @param most Columns of a part.
 * @param packRight Packs so many rows of the right operand, which are columns of the result.
 */
export function* packedParts(
  left: Operand,
  n: number,
  most: number,
  packRight: (panel: Panel) => GPUTexture,
): Generator<PackedPart> {
  for (const [start, steps] of partsOf(left.k, STEPS)) {
    const quads = roundUp(Math.ceil(steps / 4), BLOCK.quads);
    for (const lefts of packLeft(left, start, steps)) {
      for (const [column, columns] of partsOf(n, most)) {
        const right = packRight({ row: column, rows: columns, start, steps });
        for (const [row, rows, texture] of lefts) {
          const counts = blockCounts(BLOCK, rows, columns);
          const extents = { quads, row, column };
          yield { start, steps, textures: [right, texture], extents, counts };
        }
      }
    }
  }
}

/** Textures that hold rows of a left operand at once, of 4 MiB each: the right one is packed again for those after them. */
const LEFTS = 8;

/** All rows of a left operand, in a texture for each part, of which so many are there until the next ones are asked for. */
function* packLeft(
  operand: Operand,
  start: number,
  steps: number,
): Generator<[row: number, rows: number, texture: GPUTexture][]> {
  const parts = partsOf(operand.rows, ROWS);
  for (const [first, count] of partsOf(parts.length, LEFTS)) {
    yield parts.slice(first, first + count).map(([row, rows], i) => [
      ...[row, rows] as const,
      pack(`left operand ${i}`, operand, { row, rows, start, steps }),
    ]);
  }
}

/** The parts of at most `most` that so many make: where each begins, and how many it has. */
export function partsOf(all: number, most: number): [start: number, count: number][] {
  return Array.from({ length: Math.ceil(all / most) }, (_, i) => [
    i * most,
    Math.min(most, all - i * most),
  ]);
}
