import type { Layout } from "../matmul/problem.ts";
import { type Tile, tiledKernel, type TiledPart } from "../matmul/tiled.ts";
import { type GroupedProduct, partOf, tableOf } from "./problem.ts";

/** Workgroups that occupy a large GPU. */
const WORKGROUPS = 128;

/** A grouped product of rows in tiles of 64 or 128, by the tiles of `tiledProduct`: the usual way on a GPU. */
export function tiledGroupedProduct(product: GroupedProduct): void {
  const { layout, a, b, out, m, n, k, groups: { tile, experts }, accumulate } = product;
  const { gpu } = out;
  const count = (tile: Tile): number => Math.ceil(n / tile) * Math.ceil(m / tile) * experts;
  const side: Tile = layout !== "TN" && tile !== 1 ? tile : count(128) >= WORKGROUPS ? 128 : 64;
  const vector = [layout === "TN" ? m : k, n].every((x) => x % 4 === 0);
  gpu.run(
    tiledKernel(product, side, vector, part(layout)),
    [a, b, a, a, out, tableOf(product)],
    [m, n, k, Number(accumulate), tile, experts],
    [Math.ceil(n / side), Math.ceil(m / side), layout === "TN" ? experts : 1],
  );
}

function part(layout: Layout): TiledPart {
  return {
    name: "experts",
    declarations: `@group(0) @binding(5) var<storage, read> table: array<u32>;
var<private> firstB: u32;`,
    params: "tile: u32, experts: u32",
    code: partOf(layout, "workgroup.y"),
    firstB: "firstB + ",
  };
}
