import { assertThrows } from "@std/assert";
import { type Layout, linear, matmul } from "../kernels/matmul.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

/** C = op(A)·op(B) in float64. */
function reference(
  layout: Layout,
  a: Float64Array,
  b: Float64Array,
  m: number,
  n: number,
  k: number,
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

for (const [m, n, k] of [[1, 1, 1], [3, 17, 5], [17, 3, 63], [33, 20, 7]] as const) {
  for (const layout of ["NT", "NN", "TN"] as const) {
    gpuTest(
      `matmul ${layout} equals its float64 reference at m = ${m}, n = ${n}, k = ${k}`,
      (gpu) =>
        checkOperation(gpu, {
          name: `matmul ${layout} ${m} ${n} ${k}`,
          op: (a, b) => matmul(a!, b!, layout),
          reference: (a, b) => reference(layout, a!, b!, m, n, k),
          shapes: [layout === "TN" ? [k, m] : [m, k], layout === "NT" ? [n, k] : [k, n]],
        }),
    );
  }
}

gpuTest(
  "linear adds a bias and a residual and hands their gradients on",
  (gpu) =>
    checkOperation(gpu, {
      name: "linear",
      op: (x, weight, bias, residual) => linear(x!, weight!, { bias: bias!, residual: residual! }),
      reference: (x, weight, bias, residual) =>
        reference("NT", x!, weight!, 6, 9, 5).map((sum, i) => sum + bias![i % 9]! + residual![i]!),
      shapes: [[2, 3, 5], [9, 5], [9], [2, 3, 9]],
    }),
);

gpuTest("linear names the shapes that do not fit", (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.zeros([2, 4]);
  assertThrows(() => linear(x, gpu.zeros([3, 5])), ShapeError, "[3,5]");
  assertThrows(() => linear(x, gpu.zeros([3, 4]), { bias: gpu.zeros([4]) }), ShapeError, "bias");
  assertThrows(() => linear(x, gpu.zeros([3, 4]), { residual: x }), ShapeError, "residual");
  assertThrows(() => matmul(x, x, "NN"), ShapeError, "NN");
  return Promise.resolve();
});
