import { assert, assertEquals, assertThrows } from "@std/assert";
import { startTape } from "../kernels/elementwise.ts";
import { gatherRows, spliceRows } from "../kernels/rows.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { everyPathTest } from "./support/paths.ts";
import { seeded } from "./support/seeded.ts";

const SIZES = [[1, 1, 1], [3, 17, 2], [65, 64, 63], [257, 63, 17]];

/** Different numbers below n. */
function draw(n: number, count: number): Uint32Array<ArrayBuffer> {
  const random = seeded(`rows ${n} ${count}`);
  const all = Array.from({ length: n }, (_, i) => i).map((i) => [random.float(), i] as const);
  return Uint32Array.from(all.sort((a, b) => a[0] - b[0]).slice(0, count), ([, i]) => i);
}

for (const [n = 0, width = 0, count = 0] of SIZES) {
  const rows = draw(n, count);
  everyPathTest(
    `gatherRows takes ${count} of [${n}, ${width}]`,
    (gpu) =>
      checkOperation(gpu, {
        name: `gatherRows ${n}x${width}`,
        op: (x) => gatherRows(x!, gpu.tensor(rows, [count])),
        reference: (x) =>
          Float64Array.from({ length: count * width }, (_, i) =>
            x![rows[Math.floor(i / width)]! * width + i % width]!),
        shapes: [[n, width]],
      }),
  );
  for (const differentiable of [[true, true], [false, true], [true, false]]) {
    everyPathTest(
      `spliceRows replaces ${count} of [${n}, ${width}], gradients ${differentiable}`,
      (gpu) =>
        checkOperation(gpu, {
          name: `spliceRows ${n}x${width}`,
          op: (x, features) => spliceRows(x!, features!, gpu.tensor(rows, [count])),
          reference: (x, features) => {
            const y = x!.slice();
            rows.forEach((row, i) =>
              y.set(features!.subarray(i * width, (i + 1) * width), row * width)
            );
            return y;
          },
          shapes: [[n, width], [count, width]],
          differentiable,
        }),
    );
  }
}

gpuTest("gatherRows adds to the gradient that is there, and zeroes what was not", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.zeros([3, 4]);
  x.requiresGrad = true;
  x.grad = gpu.tensor(new Float32Array(12).fill(9), [3, 4]);
  const rows = [[1], [2, 1]].map((r) => gpu.tensor(Uint32Array.from(r), [r.length]));
  using tape = startTape(gpu);
  const [a, b] = rows.map((r) => gatherRows(x, r));
  tape.backward([a!], gpu.tensor(new Float32Array(4).fill(1), [1, 4]));
  using again = startTape(gpu);
  const c = gatherRows(x, rows[1]!);
  again.backward([c], gpu.tensor(new Float32Array(8).fill(2), [2, 4]));
  assertEquals([...await gpu.read(x.grad)], [0, 0, 0, 0, 3, 3, 3, 3, 2, 2, 2, 2]);
  assert(b!.requiresGrad);
});

gpuTest("spliceRows spares what somebody else holds", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.tensor(Float32Array.of(1, 2), [2, 1]);
  const row = gpu.tensor(Uint32Array.of(1), [1]);
  const other = x.view([2]);
  const y = spliceRows(x, gpu.tensor(Float32Array.of(7), [1, 1]), row);
  assertEquals([...await gpu.read(other)], [1, 2]);
  assertEquals([...await gpu.read(y)], [1, 7]);
});

gpuTest("rows that do not fit are refused", (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.zeros([4, 3]);
  assertThrows(() => gatherRows(x, gpu.zeros([2])), ShapeError, "float32");
  const rows = gpu.zeros([2], "uint32");
  assertThrows(() => spliceRows(x, gpu.zeros([3, 3]), rows), ShapeError, "[3,3]");
  return Promise.resolve();
});
