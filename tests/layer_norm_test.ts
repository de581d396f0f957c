import { assertThrows } from "@std/assert";
import { layerNorm } from "../kernels/layer_norm.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { reductionTest } from "./support/paths.ts";

function reference(x: Float64Array, w: Float64Array, b: Float64Array, eps: number): Float64Array {
  const n = w.length;
  const y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += n) {
    const row = x.subarray(at, at + n);
    const mean = row.reduce((sum, v) => sum + v, 0) / n;
    const r = 1 / Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n + eps);
    row.forEach((v, i) => y[at + i] = w[i]! * (v - mean) * r + b[i]!);
  }
  return y;
}

for (const [rows, width] of [[1, 3], [3, 17], [63, 65], [65, 63], [257, 48], [17, 1024]] as const) {
  reductionTest(
    `layerNorm equals its float64 reference at [${rows}, ${width}]`,
    (gpu) =>
      checkOperation(gpu, {
        name: `layerNorm ${rows}x${width}`,
        op: (x, w, b) => layerNorm(x!, w!, b!, 1e-5),
        reference: (x, w, b) => reference(x!, w!, b!, 1e-5),
        shapes: [[rows, width], [width], [width]],
        draw: (random, input) => random.normal() + (input === 0 ? 3 : 0),
      }),
  );
}

gpuTest("layerNorm of one column is its bias", async (gpu) => {
  using _scope = gpu.scope();
  const [x, w, b] = [[1, 2, 3], [5], [7]].map((v) => gpu.tensor(Float32Array.from(v), [v.length]));
  const y = await gpu.read(layerNorm(x!.view([3, 1]), w!, b!, 1e-5));
  if (y.some((v) => v !== 7)) throw new Error(`${y}`);
});

gpuTest("layerNorm names what does not fit", (gpu) => {
  using _scope = gpu.scope();
  const [x, w, b] = [gpu.zeros([2, 4]), gpu.zeros([4]), gpu.zeros([5])];
  assertThrows(() => layerNorm(x, w, b, 1e-5), ShapeError, "bias [5]");
  assertThrows(() => layerNorm(x, b, w, 1e-5), ShapeError, "weight [5]");
  return Promise.resolve();
});
