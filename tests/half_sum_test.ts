import { assert, assertEquals } from "@std/assert";
import { sumInHalf } from "../train/half_sum.ts";
import { together } from "./support/ranks.ts";
import { seeded } from "./support/seeded.ts";

const random = seeded("sums in half precision");

for (const [size, scale] of [[1, 1], [2, 1e-9], [3, 1e4], [5, 1e12]] as const) {
  Deno.test(`sums over ${size} ranks of numbers about ${scale}`, async () => {
    const parts = Array.from(
      { length: size },
      () => Float32Array.from({ length: 101 }, () => scale * random.normal()),
    );
    const sums = parts[0]!.map((_, i) => parts.reduce((sum, part) => sum + part[i]!, 0));
    const results: Float32Array[] = [];
    await together(size, async (ranks) => {
      const values = parts[ranks.rank]!.slice();
      await sumInHalf(ranks, values);
      results.push(values);
    });
    const [first] = results;
    for (const result of results) assertEquals(result, first);
    const largest = Math.max(...parts.flatMap((part) => [...part].map(Math.abs)));
    first!.forEach((sum, i) => {
      assert(Math.abs(sum - sums[i]!) < 1e-3 * size * largest, `${sum}, not ${sums[i]}`);
    });
  });
}

Deno.test("a gradient that is not finite on one rank is so on all", async () => {
  for (const bad of [NaN, Infinity]) {
    await together(2, async (ranks) => {
      const values = new Float32Array(7).fill(1);
      if (ranks.rank === 1) values[3] = bad;
      await sumInHalf(ranks, values);
      assert(values.every(Number.isNaN));
    });
  }
});
