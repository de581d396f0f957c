import { assertEquals, assertThrows } from "@std/assert";
import { add, addInto, copy, fill, reshape, scale } from "../kernels/elementwise.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

for (const shape of [[1], [3, 17], [64, 4], [65, 257]]) {
  gpuTest(
    `add, scale, copy and reshape equal their float64 reference at [${shape}]`,
    async (gpu) => {
      await checkOperation(gpu, {
        name: `add ${shape}`,
        op: (a, b) => add(a!, b!),
        reference: (a, b) => a!.map((v, i) => v + b![i]!),
        shapes: [shape, shape],
        samples: 17,
      });
      await checkOperation(gpu, {
        name: `others ${shape}`,
        op: (x) => {
          using scope = gpu.scope();
          return scope.keep(scale(reshape(copy(x!), [x!.size, 1]), -2.5));
        },
        reference: (x) => x!.map((v) => v * -2.5),
        shapes: [shape],
        samples: 17,
      });
    },
  );
}

gpuTest("in-place operations change their tensor", async (gpu) => {
  using _scope = gpu.scope();
  for (const n of [3, 4]) {
    const x = gpu.zeros([n]);
    fill(x, 1.5);
    addInto(x, copy(x));
    addInto(x, gpu.tensor(Float32Array.from({ length: n }, (_, i) => i), [n]));
    assertEquals([...await gpu.read(x)], [3, 4, 5, 6].slice(0, n));
  }
});

gpuTest("shapes that do not fit are refused", (gpu) => {
  using _scope = gpu.scope();
  const [a, b] = [gpu.zeros([2, 3]), gpu.zeros([2, 4])];
  assertThrows(() => add(a, b), ShapeError, "[2,4] and [2,3]");
  assertThrows(() => reshape(b, [3, 2]), ShapeError, "[3,2]");
  assertThrows(() => reshape(a, [4, 2]), ShapeError, "[4,2]");
  return Promise.resolve();
});
