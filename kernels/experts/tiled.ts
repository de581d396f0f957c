import type { Layout } from "../matmul/problem.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { type Tile, tiledKernel, type TiledPart } from "../matmul/tiled.ts";
import { type GroupedProduct, type GroupedShape, partOf, tableOf } from "./problem.ts";

/** Workgroups that occupy a large GPU. */
const WORKGROUPS = 128;

/** Width of the tiles of a result; two of them may share a tile of rows. */
export function tiledSide(
  { info }: Gpu,
  { layout, m, n, tile, experts }: Pick<GroupedShape, "layout" | "m" | "n" | "tile" | "experts">,
): Tile {
  if (info.fewRegisters) return 64;
  if (layout !== "TN" && (tile === 64 || tile === 128)) return tile;
  return Math.ceil(n / 128) * Math.ceil(m / 128) * experts >= WORKGROUPS ? 128 : 64;
}

/** A grouped product of rows in tiles of 64 or 128, by the tiles of `tiledProduct`: the usual way on a GPU. */
export function tiledGroupedProduct(product: GroupedProduct): void {
  const { layout, a, b, out, m, n, k, groups: { tile, experts }, accumulate } = product;
  const { gpu } = out;
  const side = tiledSide(gpu, { layout, m, n, tile, experts });
  const vector = [layout === "TN" ? m : k, n].every((x) => x % 4 === 0);
  gpu.run(
    tiledKernel(product, { tile: side }, vector, part(layout, side)),
    [a, b, a, a, out, tableOf(product)],
    [m, n, k, Number(accumulate), tile, experts],
    [Math.ceil(n / side), Math.ceil(m / side), layout === "TN" ? experts : 1],
  );
}

function part(layout: Layout, side: Tile): TiledPart {
  return {
    name: "experts",
    declarations: `@group(0) @binding(5) var<storage, read> table: array<u32>;
var<private> firstB: u32;`,
    params: "tile: u32, experts: u32",
    code: partOf(layout, `workgroup.y * ${side}u / p.tile`),
    firstB: "firstB",
  };
}
