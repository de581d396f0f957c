import type { Layout } from "../../kernels/matmul.ts";

/** Rows and columns of a product, and the length of its sums. */
export type Extents = readonly [m: number, n: number, k: number];

/** C = op(A)·op(B) in float64. */
export function productReference(
  layout: Layout,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  [m, n, k]: Extents,
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) {
        sum += a[layout === "TN" ? l * m + i : i * k + l]! *
          b[layout === "NT" ? j * k + l : l * n + j]!;
      }
      c[i * n + j] = sum;
    }
  }
  return c;
}
