import { preferred } from "../matmul/choose.ts";
import type { Layout } from "../matmul/problem.ts";
import { ShapeError } from "../runtime/errors.ts";
import { operandOf, type Precision, precisionOf } from "../runtime/precision.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { groupedKernels } from "./choose.ts";
import { groupedGemv } from "./gemv.ts";
import { type ExpertGroups, isImaged } from "./groups.ts";
import { imageGroupedProduct } from "./image.ts";
import { smallGroupedProduct } from "./small.ts";
import { softwareGroupedProduct } from "./software.ts";
import { tiledGroupedProduct } from "./tiled.ts";

/** A kernel for grouped products. */
export type GroupedFamily = "small" | "gemv" | "image" | "tiled" | "software";

/**
 * Computes a product for every expert into a tensor, outside of the tape. `GroupedProduct` says how the operands lie.
 *
 * @param precision To what the operands are rounded.
 * @param family The kernel to use, for tests and benchmarks; chosen by the extents unless given.
 */
export function groupedProduct(
  layout: Layout,
  a: Tensor,
  b: Tensor,
  out: Tensor,
  groups: ExpertGroups,
  accumulate = false,
  precision: Precision = precisionOf(a, b),
  family?: GroupedFamily,
): void {
  const { experts, tile, tiles } = groups;
  const rows = tile * tiles;
  const m = layout === "TN" ? a.width : rows;
  const [n, k] = [out.width, a.width];
  const fits = a.rows === rows && out.width === n &&
    (layout === "TN"
      ? b.rows === rows && b.width === n && out.rows === experts * m
      : out.rows === rows && b.size === experts * n * k && b.width === (layout === "NT" ? k : n));
  if (!fits) {
    throw new ShapeError(
      `A grouped product ${layout} of ${rows} rows and ${experts} experts cannot be ` +
        `[${a.shape}] · [${b.shape}] = [${out.shape}].`,
    );
  }
  [a, b] = [operandOf(a), operandOf(b)];
  const product = { layout, a, b, out, precision, m, n, k, groups, accumulate };
  const shape = { layout, m, n, k: layout === "TN" ? rows : k, precision, experts, tile };
  const chosen = family ??
    (layout === "NT" && isImaged(b, experts)
      ? "image"
      : preferred(out.gpu, groupedKernels(out.gpu, shape)).family);
  switch (chosen) {
    case "small":
      return smallGroupedProduct(product);
    case "gemv":
      return groupedGemv(product);
    case "image":
      return imageGroupedProduct(product);
    case "tiled":
      return tiledGroupedProduct(product);
    case "software":
      return softwareGroupedProduct(product);
  }
}
