import type { Layout } from "../matmul/problem.ts";
import { tiledKernel, type TiledPart } from "../matmul/tiled.ts";
import { type GroupedProduct, partOf, tableOf } from "./problem.ts";

/** Rows of a tile, and columns. */
const TILE = 64;

/** A grouped product whose tiles have 64 rows, by the tiles of `tiledProduct`: the usual way on a GPU. */
export function tiledGroupedProduct(product: GroupedProduct): void {
  const { layout, a, b, out, m, n, k, groups: { tile, experts }, accumulate } = product;
  const { gpu } = out;
  const vector = [layout === "TN" ? m : k, n].every((x) => x % 4 === 0);
  gpu.run(
    tiledKernel(gpu, layout, TILE, vector, part(layout)),
    [a, b, a, a, out, tableOf(product)],
    [m, n, k, Number(accumulate), tile, experts],
    [Math.ceil(n / TILE), Math.ceil(m / TILE), layout === "TN" ? experts : 1],
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
