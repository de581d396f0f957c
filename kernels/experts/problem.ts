import type { ProductShape } from "../matmul/choose.ts";
import type { Layout } from "../matmul/problem.ts";
import type { Precision } from "../runtime/precision.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { ExpertGroups } from "./groups.ts";

/**
 * A product for every expert, of the rows that are sorted to it:
 *
 * - `NT`: C [P, n] = A [P, k] · Bₑ [n, k]ᵀ, with B [E · n, k], a linear layer of each expert
 * - `NN`: C [P, n] = A [P, k] · Bₑ [k, n], with B [E · k, n], the gradient of its input
 * - `TN`: Cₑ [m, n] = Aᵀ · B over the expert's rows of A [P, m] and B [P, n], with C [E · m, n], the gradient of its weight
 *
 * Padding must be zero in A and B of `TN`.
 */
export interface GroupedProduct {
  /** Which of the three. */
  readonly layout: Layout;
  /** The left operand. */
  readonly a: Tensor;
  /** The right operand. */
  readonly b: Tensor;
  /** Where the result goes. */
  readonly out: Tensor;
  /** Rows of the result, of one expert for `TN`. */
  readonly m: number;
  /** Columns of the result. */
  readonly n: number;
  /** Length of the sums; not used for `TN`, where it is the expert's number of rows. */
  readonly k: number;
  /** Which rows are whose. */
  readonly groups: ExpertGroups;
  /** Whether to add to what `out` holds. */
  readonly accumulate: boolean;
  /** To what the operands are rounded. */
  readonly precision: Precision;
}

/** What of a grouped product its kernel is chosen by; m, for `TN` k, is the rows of all tiles. */
export interface GroupedShape extends ProductShape {
  /** Number of experts. */
  readonly experts: number;
  /** Rows of a tile. */
  readonly tile: ExpertGroups["tile"];
}

/**
 * WGSL that says which part of a grouped product a workgroup has, the same in all its invocations: `expert`, the steps
 * of k `start` … `end` that it sums (none for a tile that is not used), and the first element of its right operand in
 * `firstB`, which must be declared. Reads `table`, see `tableOf`, and the parameters `k`, `n`, `m`, `tile` and `experts`.
 *
 * @param tile WGSL for the number of the tile, for `NT` and `NN`.
 */
export function partOf(layout: Layout, tile: string): string {
  return layout === "TN"
    ? `let expert = workgroup.z;
  let start = table[expert] * p.tile;
  let end = table[expert + 1u] * p.tile;
  firstB = 0u;`
    : `let expert = table[${tile}];
  let start = 0u;
  let end = select(0u, p.k, expert < p.experts);
  firstB = min(expert, p.experts - 1u) * p.k * p.n;`;
}

/** What kernels bind as `table`. */
export function tableOf({ layout, groups }: GroupedProduct): Tensor {
  return layout === "TN" ? groups.firstTiles : groups.tileExperts;
}
