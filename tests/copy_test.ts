import { assertEquals } from "@std/assert";
import { copiesByKernel } from "../kernels/runtime/copy.ts";
import { everyPathTest, openCard } from "./support/paths.ts";
import { gpuTest } from "./support/gpu.ts";

for (const size of [1, 3, 4, 1021, 4096]) {
  everyPathTest(`copies ${size} numbers, and none beside them`, async (gpu) => {
    using _scope = gpu.scope();
    const numbers = Uint32Array.from({ length: size + 128 }, (_, i) => i + 1);
    const from = gpu.tensor(numbers, [size + 128]);
    for (const start of [0, 64, 65]) { // the last begins where no binding may
      const to = gpu.zeros([size + 128], "uint32");
      gpu.copy(from.view([size], start), to.view([size], start));
      const expected = numbers.map((n, i) => i >= start && i < start + size ? n : 0);
      assertEquals(await gpu.readUint32(to), expected);
    }
  });
}

everyPathTest("copies halves, of an odd number too, and within a tensor", async (gpu) => {
  using _scope = gpu.scope();
  const numbers = Uint16Array.from({ length: 131 }, (_, i) => i);
  const from = gpu.tensor(numbers, [131]);
  const to = gpu.empty([131], "float16");
  gpu.copy(from, to);
  assertEquals(new Uint16Array(await gpu.readBytes(to)).subarray(0, 131), numbers);
  const all = gpu.tensor(Uint32Array.from({ length: 192 }, (_, i) => i), [192]);
  gpu.copy(all.view([128]), all.view([128], 64));
  assertEquals((await gpu.readUint32(all)).slice(64), Uint32Array.from(Array(128).keys()));
});

gpuTest("a kernel copies on a graphics card, where bindings may begin", async () => {
  using card = await openCard();
  const x = card.zeros([128]), y = card.zeros([64]);
  const { dispatches } = card.counts;
  card.copy(x.view([64], 64), y);
  assertEquals(card.counts.dispatches, dispatches + 1);
  assertEquals(copiesByKernel(card, x.view([64], 63), y), false);
});
