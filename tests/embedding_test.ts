import { assertEquals, assertThrows } from "@std/assert";
import { startTape } from "../kernels/elementwise.ts";
import { embedding, embeddingPlan } from "../kernels/embedding.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { seeded } from "./support/seeded.ts";

const CASES = [[1, 1, 1], [3, 17, 17], [17, 64, 65], [65, 63, 257], [300, 4, 1000], [2, 3, 5000]];

for (const [vocabulary = 0, width = 0, count = 0] of CASES) {
  const random = seeded(`ids ${vocabulary} ${count}`);
  const ids = Uint32Array.from(
    { length: count },
    () => Math.floor(random.float() ** 3 * vocabulary),
  );
  gpuTest(
    `embedding of ${count} tokens in [${vocabulary}, ${width}] equals its float64 reference`,
    (gpu) =>
      checkOperation(gpu, {
        name: `embedding ${vocabulary}x${width}`,
        op: (table) => embedding(table!, embeddingPlan(gpu, ids, table!)),
        reference: (table) =>
          Float64Array.from({ length: count * width }, (_, i) =>
            table![ids[Math.floor(i / width)]! * width + i % width]!),
        shapes: [[vocabulary, width]],
        tolerance: 2e-6,
      }),
  );
}

gpuTest("embedding adds to the gradient that is there, and zeroes what was not", async (gpu) => {
  using _scope = gpu.scope();
  const table = gpu.zeros([4, 2]);
  table.requiresGrad = true;
  table.grad = gpu.tensor(new Float32Array(8).fill(9), [4, 2]);
  for (
    const [dy, expected] of [[1, [0, 0, 2, 2, 0, 0, 1, 1]], [10, [
      0,
      0,
      22,
      22,
      0,
      0,
      11,
      11,
    ]]] as const
  ) {
    using tape = startTape(gpu);
    const y = embedding(table, embeddingPlan(gpu, Uint32Array.of(1, 3, 1), table));
    tape.backward([y], gpu.tensor(new Float32Array(6).fill(dy), [3, 2]));
    assertEquals([...await gpu.read(table.grad)], [...expected]);
  }
});

gpuTest("embedding checks ids, and needs a plan only where it trains", async (gpu) => {
  using _scope = gpu.scope();
  const table = gpu.tensor(Float32Array.of(1, 2, 3), [3, 1]);
  assertThrows(() => embeddingPlan(gpu, Uint32Array.of(0, 3), table), ShapeError, "id 3");
  const ids = gpu.tensor(Uint32Array.of(2, 0), [2]);
  using tape = startTape(gpu);
  assertEquals([...await gpu.read(embedding(table, ids))], [3, 1]);
  assertEquals(tape.length, 0);
  table.requiresGrad = true;
  assertThrows(() => embedding(table, ids), ShapeError, "plan");
});
