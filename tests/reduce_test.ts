import { assert, assertEquals } from "@std/assert";
import { add } from "../kernels/elementwise.ts";
import { argmax, mean, sum, sumOf } from "../kernels/reduce.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { openCard, reductionTest } from "./support/paths.ts";
import { seeded } from "./support/seeded.ts";

for (const shape of [[1], [3, 17], [63, 65], [257, 257], [40000]]) {
  reductionTest(`sum and mean of [${shape}] equal their float64 reference`, async (gpu) => {
    const total = (x: Float64Array): number => x.reduce((s, v) => s + v, 0);
    const common = {
      shapes: [shape],
      draw: (random: { float(): number }) => random.float(),
      samples: 5,
    };
    await checkOperation(gpu, {
      ...common,
      name: `sum ${shape}`,
      op: (x) => sum(x!),
      reference: (x) => Float64Array.of(total(x!)),
    });
    await checkOperation(gpu, {
      ...common,
      name: `mean ${shape}`,
      op: (x) => add(mean(x!), mean(x!)),
      reference: (x) => Float64Array.of(2 * total(x!) / x!.length),
    });
  });
}

reductionTest("sumOf adds up squares of many tensors, the same way every time", async (gpu) => {
  using _scope = gpu.scope();
  const random = seeded("squares");
  const hosts = [1, 63, 16384, 16385, 100000].map((n) =>
    Float32Array.from({ length: n }, () => random.normal())
  );
  const tensors = hosts.map((host) => gpu.tensor(host, [host.length]));
  const expected = hosts.reduce((s, host) => s + host.reduce((t, v) => t + v * v, 0), 0);
  const first = await gpu.read(sumOf(tensors, "v * v"));
  assertClose(first, [expected], 1e-6, "squares");
  assertEquals(await gpu.read(sumOf(tensors, "v * v")), first);
});

gpuTest("a sum of more blocks than a graphics card has parts", async () => {
  using card = await openCard();
  const n = 4_200_001;
  const ones = card.tensor(Float32Array.from({ length: n }, (_, i) => i % 2), [n]);
  assertEquals(await card.read(sumOf([ones])), Float32Array.of(2_100_000));
});

for (const [rows = 0, width = 0] of [[1, 1], [3, 17], [2, 9001], [17, 6400], [257, 65]]) {
  reductionTest(`argmax of [${rows}, ${width}] takes the first of equal ones`, async (gpu) => {
    using _scope = gpu.scope();
    const random = seeded(`argmax ${rows}`);
    const x = Float32Array.from(
      { length: rows * width },
      () => Math.round(random.normal() * 3) - (rows === 3 ? 100 : 0),
    );
    const y = await gpu.readUint32(argmax(gpu.tensor(x, [rows, width])));
    y.forEach((column, row) => {
      const values = x.subarray(row * width, (row + 1) * width);
      const most = values.reduce((a, b) => Math.max(a, b));
      assert(column === values.indexOf(most), `row ${row}: ${column}`);
    });
  });
}
