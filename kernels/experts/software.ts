import { blockCounts, blockKernel, blockParams, type BlockPart } from "../matmul/block.ts";
import { LANES } from "../matmul/image.ts";
import { BLOCK_ROWS, type Operand, pack, PANEL_ROWS, ROWS, STEPS } from "../matmul/pack.ts";
import { BLOCK, LIES, operandsPack, packLeft, partsOf } from "../matmul/software.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { roundUp } from "../runtime/kernel.ts";
import type { GroupedShape } from "./choose.ts";
import { type GroupedProduct, tableOf } from "./problem.ts";

/** How kernels declare `tableOf` a product. */
export const TABLE = "@group(0) @binding(5) var<storage, read> table: array<u32>;";

/** Experts whose matrices the right operand's texture holds at once. */
const EXPERTS = ROWS / PANEL_ROWS;

/** For `NT` and `NN`: a block's rows lie in a tile, whose expert's matrix is the right operand; a sum of nothing where it is not one of these `experts`. */
export const ROWS_OF_TILES: BlockPart = {
  name: "experts/",
  declarations: TABLE,
  params: ", first: u32, experts: u32, tile: u32, columns: u32",
  code: `let expert = table[firstRow / p.tile] - p.first;
  let begin = 0u; let end = select(0u, p.quads, expert < p.experts);
  let above = 0u; let before = min(expert, p.experts - 1u) * p.columns;`,
};

/** For `TN`: a workgroup's third place is the expert, over whose rows it sums. */
const SUM_OVER_TILES: BlockPart = {
  name: "experts_sum/",
  declarations: TABLE,
  params: ", tile: u32, start: u32",
  code: `let quads = p.tile / 4u; let above = workgroup.z * p.m; let before = 0u;
  let begin = clamp(table[workgroup.z] * quads, p.start, p.start + p.quads) - p.start;
  let end = clamp(table[workgroup.z + 1u] * quads, p.start, p.start + p.quads) - p.start;`,
};

/** Whether this kernel takes a product: operands that can be packed, 8 lanes to a subgroup, whole blocks in a tile. */
export function softwareTakesGrouped({ info }: Gpu, shape: GroupedShape): boolean {
  return info.subgroupSize === LANES && shape.tile % BLOCK_ROWS === 0 && operandsPack(shape);
}

/** A grouped product by the kernel of `softwareProduct`. */
export function softwareGroupedProduct(product: GroupedProduct): void {
  if (product.layout === "TN") sumOverTiles(product);
  else rowsOfTiles(product);
}

function rowsOfTiles(product: GroupedProduct): void {
  const { layout, a, b, out, m, n, k, groups, accumulate, precision } = product;
  const { experts, tile } = groups;
  const { gpu } = out;
  const most = Math.floor(EXPERTS / Math.min(experts, EXPERTS)) * PANEL_ROWS;
  const left: Operand = { tensor: a, first: 0, rows: m, k, across: false, again: 1, precision };
  const rights = Array.from({ length: experts }, (_, expert): Operand => (
    { tensor: b, first: expert * n * k, rows: n, k, across: layout === "NN", again: 4, precision }
  ));
  for (const [start, steps] of partsOf(k, STEPS)) {
    const quads = roundUp(Math.ceil(steps / 4), BLOCK.quads);
    for (const lefts of packLeft(left, start, steps)) {
      for (const [first, count] of partsOf(experts, EXPERTS)) {
        const epilogue = { accumulate: accumulate || start + first > 0 }; // the first ones set all rows
        const kernel = blockKernel(gpu, BLOCK, LIES[layout], "float32", epilogue, ROWS_OF_TILES);
        for (const [column, columns] of partsOf(n, most)) {
          const each = roundUp(columns, PANEL_ROWS);
          const panel = { row: column, rows: columns, start, steps };
          const [packed] = rights.slice(first, first + count)
            .map((right, i) => pack("right operand", right, panel, i * each));
          for (const [row, rows, texture] of lefts) {
            gpu.run(
              kernel,
              [packed!, texture, a, a, out, tableOf(product)],
              [...blockParams({ m, n, quads, row, column }), first, count, tile, each],
              blockCounts(BLOCK, rows, columns),
            );
          }
        }
      }
    }
  }
}

function sumOverTiles(product: GroupedProduct): void {
  const { a, b, out, m, n, groups, accumulate, precision } = product;
  const { gpu } = out;
  const k = groups.tiles * groups.tile;
  const left: Operand = { tensor: a, first: 0, rows: m, k, across: true, again: 1, precision };
  const right: Operand = { tensor: b, first: 0, rows: n, k, across: true, again: 4, precision };
  for (const [start, steps] of partsOf(k, STEPS)) {
    const epilogue = { accumulate: accumulate || start > 0 };
    const kernel = blockKernel(gpu, BLOCK, LIES.TN, "float32", epilogue, SUM_OVER_TILES);
    for (const lefts of packLeft(left, start, steps)) {
      for (const [column, columns] of partsOf(n, ROWS)) {
        const packed = pack("right operand", right, { row: column, rows: columns, start, steps });
        for (const [row, rows, texture] of lefts) {
          gpu.run(
            kernel,
            [packed, texture, a, a, out, tableOf(product)],
            [
              ...blockParams({ m, n, quads: steps / 4, row, column }),
              ...[groups.tile, start / 4],
            ],
            [...blockCounts(BLOCK, rows, columns), groups.experts],
          );
        }
      }
    }
  }
}
