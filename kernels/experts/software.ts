import { DEPTH, leftTexture, panelTexel, ROWS } from "../matmul/left_operand.ts";
import { COLUMNS, slabKernel, type SlabPart } from "../matmul/software.ts";
import { ADD, operandsOf } from "../matmul/problem.ts";
import type { GroupedProduct } from "./problem.ts";

const TABLE = "@group(0) @binding(5) var<storage, read> table: array<u32>;";

/** For `NT` and `NN`: a workgroup has a tile, whose expert's matrix is its right operand. */
function rowsOfTile(tile: number): SlabPart {
  return {
    name: `experts/${tile}`,
    subgroups: tile / 8,
    slab: 128,
    declarations: TABLE,
    params: ", experts: u32",
    code: `let expert = min(table[p.row / ${tile}u + workgroup.x], p.experts - 1u);
  let firstB = expert * p.k * (p.n / 4u);`,
    firstB: "firstB + ",
    above: "",
  };
}

/** For `TN`: a dispatch sums over the rows of a tile, and adds them to its expert's matrix. */
function sumOverTile(tile: number): SlabPart {
  return {
    name: `experts_sum/${tile}`,
    subgroups: 16,
    slab: tile,
    declarations: TABLE,
    params: ", experts: u32, m: u32",
    code: `let above = min(table[p.start / ${tile}u], p.experts - 1u) * p.m;`,
    firstB: "",
    above: "above + ",
  };
}

/** Whether this kernel takes a product: rows of four numbers, and 8 lanes to a subgroup. */
export function softwareTakesGrouped({ out, m, n, k, layout, groups }: GroupedProduct): boolean {
  return out.gpu.info.subgroupSize === 8 && groups.tile > 1 && n % 4 === 0 &&
    (layout === "TN" ? m : k) % 4 === 0;
}

/** A grouped product by the kernel of `softwareProduct`. */
export function softwareGroupedProduct(product: GroupedProduct): void {
  if (product.layout === "TN") sumOverTiles(product);
  else rowsOfTiles(product);
}

function rowsOfTiles(product: GroupedProduct): void {
  const { layout, a, b, out, m, n, k, groups, accumulate, precision } = product;
  const { gpu } = out;
  const part = rowsOfTile(groups.tile);
  const { slab } = part;
  const kernel = slabKernel(gpu, operandsOf(product), part);
  for (let row = 0; row < m; row += ROWS) {
    const rows = Math.min(ROWS, m - row);
    for (let start = 0; start < k; start += DEPTH) {
      const depth = Math.ceil(Math.min(DEPTH, k - start) / slab) * slab;
      const texture = leftTexture({ layout, a, m, k, precision }, row, rows, start, depth);
      for (let step = 0; step < depth; step += slab) {
        const add = accumulate || start + step > 0 ? ADD.out : 0;
        const across = layout === "NT" ? 0 : 1;
        gpu.run(
          kernel,
          [b, texture, a, a, out, groups.tileExperts],
          [row, rows, n, k, start + step, ...panelTexel(step), add, across, groups.experts],
          [Math.ceil(rows / groups.tile), Math.ceil(n / COLUMNS)],
        );
      }
    }
  }
}

function sumOverTiles(product: GroupedProduct): void {
  const { layout, a, b, out, m, n, groups, accumulate, precision } = product;
  const { gpu } = out;
  const part = sumOverTile(groups.tile);
  const kernel = slabKernel(gpu, operandsOf(product), part);
  const k = groups.tiles * groups.tile;
  if (!accumulate) gpu.clear(out);
  for (let row = 0; row < m; row += ROWS) {
    const rows = Math.min(ROWS, m - row);
    for (let start = 0; start < k; start += DEPTH) {
      const depth = Math.min(DEPTH, k - start);
      const texture = leftTexture({ layout, a, m, k, precision }, row, rows, start, depth);
      for (let step = 0; step < depth; step += groups.tile) {
        gpu.run(
          kernel,
          [b, texture, a, a, out, groups.tileExperts],
          [row, rows, n, k, start + step, ...panelTexel(step), ADD.out, 1, groups.experts, m],
          [Math.ceil(rows / (8 * part.subgroups)), Math.ceil(n / COLUMNS)],
        );
      }
    }
  }
}
