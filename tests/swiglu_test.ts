import { assert, assertThrows } from "@std/assert";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { swiglu } from "../kernels/swiglu.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

function reference(x: Float64Array, width: number): Float64Array {
  return Float64Array.from({ length: x.length / 2 }, (_, i) => {
    const gate = 2 * i - i % width;
    return x[gate]! / (1 + Math.exp(-x[gate]!)) * x[gate + width]!;
  });
}

for (const [rows, width] of [[1, 1], [3, 17], [17, 64], [65, 63], [257, 4]] as const) {
  gpuTest(
    `swiglu equals its float64 reference at [${rows}, ${2 * width}]`,
    (gpu) =>
      checkOperation(gpu, {
        name: `swiglu ${rows}x${width}`,
        op: (x) => swiglu(x!),
        reference: (x) => reference(x!, width),
        shapes: [[rows, 2 * width]],
      }),
  );
}

gpuTest("swiglu takes extreme gates and refuses odd rows", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.tensor(Float32Array.of(-1e4, 1e4, -100, 0, 1, 1, 1, 1), [1, 8]);
  const y = await gpu.read(swiglu(x));
  assert(Math.abs(y[0]!) < 1e-30 && y[1] === 1e4 && Math.abs(y[2]!) < 1e-30 && y[3] === 0, `${y}`);
  assertThrows(() => swiglu(gpu.zeros([2, 3])), ShapeError, "[2,3]");
});
