import { blockKernel, blockParams } from "../matmul/block.ts";
import { BLOCK_SIDE } from "../matmul/image.ts";
import { pack, type Panel, PANEL_ROWS, ROWS } from "../matmul/pack.ts";
import type { ProductPart } from "../matmul/problem.ts";
import {
  BLOCK,
  leftOf,
  packedParts,
  PACKINGS,
  partsOf,
  rightOf,
  softwareTakes,
} from "../matmul/software.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { roundUp } from "../runtime/kernel.ts";
import { range } from "../runtime/wgsl.ts";
import { type GroupedProduct, type GroupedShape, tableOf } from "./problem.ts";

/** How kernels declare `tableOf` a product. */
export const TABLE = "@group(0) @binding(5) var<storage, read> table: array<u32>;";

/** Experts whose matrices the right operand's texture holds at once. */
const EXPERTS = ROWS / PANEL_ROWS;

/** For `NT` and `NN`: a block's rows lie in a tile, whose expert's matrix is the right operand; a sum of nothing where it is not one of these `experts`. */
export const ROWS_OF_TILES: ProductPart = {
  name: "experts/",
  declarations: TABLE,
  params: ", first: u32, experts: u32, tile: u32, columns: u32",
  code: `let expert = table[firstRow / p.tile] - p.first;
  let begin = 0u; let end = select(0u, p.quads, expert < p.experts);
  let above = 0u; let before = min(expert, p.experts - 1u) * p.columns;`,
};

/** For `TN`: a workgroup's third place is the expert, over whose rows it sums. */
const SUM_OVER_TILES: ProductPart = {
  name: "experts_sum/",
  declarations: TABLE,
  params: ", tile: u32, start: u32",
  code: `let quads = p.tile / 4u; let above = workgroup.z * p.m; let before = 0u;
  let begin = clamp(table[workgroup.z] * quads, p.start, p.start + p.quads) - p.start;
  let end = clamp(table[workgroup.z + 1u] * quads, p.start, p.start + p.quads) - p.start;`,
};

/** Whether this kernel takes a product: one that `softwareTakes`, whole blocks in a tile. */
export function softwareTakesGrouped(gpu: Gpu, shape: GroupedShape): boolean {
  return shape.tile % BLOCK_SIDE === 0 && softwareTakes(gpu, shape);
}

/** A grouped product by the kernel of `softwareProduct`. */
export function softwareGroupedProduct(product: GroupedProduct): void {
  if (product.layout === "TN") sumOverTiles(product);
  else rowsOfTiles(product);
}

function rowsOfTiles(product: GroupedProduct): void {
  const { layout, a, out, m, n, k, groups, accumulate } = product;
  const { experts, tile } = groups;
  const { gpu } = out;
  const most = Math.floor(EXPERTS / Math.min(experts, EXPERTS)) * PANEL_ROWS;
  const each = Math.min(most, roundUp(n, PANEL_ROWS));
  const left = leftOf(product);
  for (const [first, count] of partsOf(experts, EXPERTS)) {
    const rights = range(count).map((i) => rightOf(product, (first + i) * n * k));
    const packRight = (panel: Panel) =>
      rights.map((right, i) => pack("right operand", right, panel, i * each))[0]!;
    for (const { start, textures, extents, counts } of packedParts(left, n, most, packRight)) {
      const epilogue = { accumulate: accumulate || start + first > 0 }; // the first ones set all rows
      gpu.run(
        blockKernel(gpu, BLOCK, PACKINGS[layout], "float32", epilogue, ROWS_OF_TILES),
        [...textures, a, a, out, tableOf(product)],
        [...blockParams({ m, n, ...extents }), first, count, tile, each],
        counts,
      );
    }
  }
}

function sumOverTiles(product: GroupedProduct): void {
  const { layout, a, out, m, n, groups, accumulate } = product;
  const { experts, tile, tiles } = groups;
  const { gpu } = out;
  const whole = { ...product, k: tiles * tile };
  const right = rightOf(whole);
  const packRight = (panel: Panel) => pack("right operand", right, panel);
  for (
    const { start, textures, extents, counts } of packedParts(leftOf(whole), n, ROWS, packRight)
  ) {
    const epilogue = { accumulate: accumulate || start > 0 };
    gpu.run(
      blockKernel(gpu, BLOCK, PACKINGS[layout], "float32", epilogue, SUM_OVER_TILES),
      [...textures, a, a, out, tableOf(product)],
      [...blockParams({ m, n, ...extents }), tile, start / 4],
      [...counts, experts],
    );
  }
}
