import { assertThrows } from "@std/assert";
import { rmsNorm } from "../kernels/rms_norm.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { reductionTest } from "./support/paths.ts";

function reference(x: Float64Array, w: Float64Array, eps: number): Float64Array {
  const n = w.length;
  const y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += n) {
    const row = x.subarray(at, at + n);
    const r = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / n + eps);
    row.forEach((v, i) => y[at + i] = w[i]! * v * r);
  }
  return y;
}

// with one column, only ε lets a gradient through
const CASES = [[1, 1, 0.5], [3, 17, 1e-5], [63, 65, 1e-5], [65, 63, 1e-5], [257, 32, 1e-5], [
  5,
  512,
  1e-5,
], [2, 6404, 1e-5]];

for (const [rows = 0, width = 0, eps = 0] of CASES) {
  reductionTest(
    `rmsNorm equals its float64 reference at [${rows}, ${width}]`,
    (gpu) =>
      checkOperation(gpu, {
        name: `rmsNorm ${rows}x${width}`,
        op: (x, w) => rmsNorm(x!, w!, eps),
        reference: (x, w) => reference(x!, w!, eps),
        shapes: [[rows, width], [width]],
      }),
  );
}

gpuTest("rmsNorm refuses a weight of another width", (gpu) => {
  using _scope = gpu.scope();
  const error = assertThrows(() => rmsNorm(gpu.zeros([2, 4]), gpu.zeros([3]), 1e-5), ShapeError);
  if (!/\[3\].*\[2,4\]/.test(error.message)) throw error;
  return Promise.resolve();
});
