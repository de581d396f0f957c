import { blockCounts, blockKernel, blockParams } from "../matmul/block.ts";
import { blockFor, imageLefts } from "../matmul/image_product.ts";
import { rowCount, rowKernel } from "../matmul/image_row.ts";
import { additions, type ProductPart } from "../matmul/problem.ts";
import { type GroupedProduct, tableOf } from "./problem.ts";
import { ROWS_OF_TILES, TABLE } from "./software.ts";

/** For tiles of a single row: a workgroup's second place is the tile. */
const ROW_OF_TILE: ProductPart = {
  name: "experts/",
  declarations: TABLE,
  params: ", experts: u32",
  code: `let strip = workgroup.x; let row = workgroup.y;
  let before = min(table[row], p.experts - 1u) * p.n;`,
};

/** A grouped product `NT` by the kernels of `imageProduct`; its weight must be `isImaged`. */
export function imageGroupedProduct(product: GroupedProduct): void {
  const { a, b, out, m, n, groups: { experts, tile } } = product;
  const { gpu } = out;
  const table = tableOf(product);
  if (tile === 1) {
    const kernel = rowKernel(product, ROW_OF_TILE);
    return gpu.run(kernel, [b.image!, a, a, a, out, table], [n, additions(product), experts], [
      rowCount(n),
      m,
    ]);
  }
  const block = blockFor(tile, b.dtype);
  const kernel = blockKernel(gpu, block, ["image", "image"], b.dtype, product, ROWS_OF_TILES);
  for (const { left, row, rows, quads } of imageLefts(product)) {
    gpu.run(
      kernel,
      [b.image!, left, a, a, out, table],
      [...blockParams({ m, n, quads, row }), 0, experts, tile, n],
      blockCounts(block, rows, n),
    );
  }
}
