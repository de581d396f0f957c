import type { Gpu } from "../runtime/gpu.ts";
import { roundUp } from "../runtime/kernel.ts";
import { type Block, blockCounts, blockKernel, blockParams, type Lies } from "./block.ts";
import { LANES } from "./image.ts";
import { BLOCK_ROWS, type Operand, pack, packs, ROWS, STEPS } from "./pack.ts";
import { addends, type Epilogue, type Layout, type Product } from "./problem.ts";

/** The block of these products. */
export const BLOCK: Block = { rows: BLOCK_ROWS, quads: 2 };

/** How the operands of a layout lie. */
export const LIES: Readonly<Record<Layout, Lies>> = {
  NT: ["along", "along"],
  NN: ["along", "across"],
  TN: ["across", "across"],
};

/** Whether this kernel takes a product: operands that can be packed, and 8 lanes to a subgroup. */
export function softwareTakes(
  { info }: Gpu,
  product: Pick<Product, "layout" | "m" | "n" | "k">,
): boolean {
  return info.subgroupSize === LANES && operandsPack(product);
}

/** Whether both operands of a product can be packed, and results be stored four by four. */
export function operandsPack(
  { layout, m, n, k }: Pick<Product, "layout" | "m" | "n" | "k">,
): boolean {
  return n % 4 === 0 && packs({ rows: m, k, across: layout === "TN" }) &&
    packs({ rows: n, k, across: layout !== "NT" });
}

/** A product on a processor that poses as a GPU with 8 lanes: parts of the operands are packed, and multiplied by `blockKernel`. */
export function softwareProduct(product: Product): void {
  const { layout, a, b, out, m, n, k, precision } = product;
  const { gpu } = out;
  const left: Operand = {
    tensor: a,
    first: 0,
    rows: m,
    k,
    across: layout === "TN",
    again: 1,
    precision,
  };
  const right: Operand = {
    tensor: b,
    first: 0,
    rows: n,
    k,
    across: layout !== "NT",
    again: 4,
    precision,
  };
  for (const [start, steps] of partsOf(k, STEPS)) {
    const epilogue: Epilogue = {
      ...start === 0 ? product : { accumulate: true },
      activation: start + steps === k ? product.activation : undefined,
    };
    const kernel = blockKernel(gpu, BLOCK, LIES[layout], "float32", epilogue);
    const quads = roundUp(Math.ceil(steps / 4), BLOCK.quads);
    for (const lefts of packLeft(left, start, steps)) {
      for (const [column, columns] of partsOf(n, ROWS)) {
        const packed = pack("right operand", right, { row: column, rows: columns, start, steps });
        for (const [row, rows, texture] of lefts) {
          gpu.run(
            kernel,
            [packed, texture, ...addends(product), out],
            blockParams({ m, n, quads, row, column }),
            blockCounts(BLOCK, rows, columns),
          );
        }
      }
    }
  }
}

/** Textures that hold rows of a left operand at once, of 4 MiB each: the right one is packed again for those after them. */
const LEFTS = 8;

/** All rows of a left operand, in a texture for each part, of which so many are there until the next ones are asked for. */
export function* packLeft(
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
