import { assert, assertEquals } from "@std/assert";
import { ALONE, type Communicator } from "../train/communicator.ts";
import { sumInHalf } from "../train/half_sum.ts";
import { seeded } from "./support/seeded.ts";

/** Runs ranks that talk through memory. */
async function together(size: number, body: (ranks: Communicator) => Promise<void>): Promise<void> {
  let [given, waiting]: [unknown[], (() => void)[]] = [[], []];
  /** What every rank gives, once all have given something. */
  const share = async <T>(rank: number, value: T): Promise<T[]> => {
    const all = given as T[];
    all[rank] = value;
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (waiting.length < size) return;
      const ready = waiting;
      [given, waiting] = [[], []];
      ready.forEach((go) => go());
    });
    return all;
  };
  const join = (parts: Uint8Array[]) => new Uint8Array(parts.flatMap((part) => [...part]));
  const ranks = Array.from({ length: size }, (_, rank): Communicator => ({
    ...ALONE,
    rank,
    size,
    max: async (values) => {
      const all = await share(rank, values.slice());
      return values.map((_, i) => Math.max(...all.map((other) => other[i]!)));
    },
    allGather: async (own) => join(await share(rank, own)),
    allToAll: async (pieces) => {
      const length = pieces.length / size;
      const all = await share(rank, pieces);
      return join(all.map((other) => other.slice(rank * length, (rank + 1) * length)));
    },
  }));
  await Promise.all(ranks.map(body));
}

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
