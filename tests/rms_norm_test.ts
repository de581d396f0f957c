import { rmsNorm } from "../kernels/rms_norm.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

function reference(x: Float64Array, w: Float64Array, eps: number): Float64Array {
  const n = w.length;
  return x.map((v, i) => {
    const row = x.subarray(i - i % n, i - i % n + n);
    const mean = row.reduce((sum, u) => sum + u * u, 0) / n;
    return w[i % n]! * v / Math.sqrt(mean + eps);
  });
}

for (const [rows, width] of [[1, 1], [3, 17], [63, 65], [65, 63], [257, 32]] as const) {
  gpuTest(
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
