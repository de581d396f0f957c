import { assert, assertEquals, assertThrows } from "@std/assert";
import { LANES } from "../kernels/attention/lanes.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import {
  advance,
  appendToCache,
  attentionDecode,
  attentionPrompts,
  type CacheRows,
  KvCache,
  packPrompts,
  PAGE_SIZE,
  pagesFor,
} from "../kernels/kv_cache.ts";
import { type HeadLayout, ropeFrequencies, ropeTable } from "../kernels/rope.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { attentionReference } from "./support/attention_reference.ts";
import { assertClose } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { seeded } from "./support/seeded.ts";

function rowsOf(gpu: Gpu, slots: number[], positions: number[]): CacheRows {
  const n = slots.length;
  return {
    slots: gpu.tensor(Uint32Array.from(slots), [n]),
    positions: gpu.tensor(Uint32Array.from(positions), [n]),
  };
}

/** Packed rows of a sequence with queries and keys turned by their positions, in float64. */
function turned(rows: Float32Array, { heads, kvHeads, headDim }: HeadLayout): Float64Array {
  const y = Float64Array.from(rows), half = headDim / 2;
  const frequencies = ropeFrequencies(headDim, 4096, 1e4);
  const width = (heads + 2 * kvHeads) * headDim;
  for (let row = 0; row < rows.length / width; row++) {
    for (let head = 0; head < heads + kvHeads; head++) {
      for (let i = 0; i < half; i++) {
        const at = row * width + head * headDim + i, angle = row * frequencies[i]!;
        y[at] = rows[at]! * Math.cos(angle) - rows[at + half]! * Math.sin(angle);
        y[at + half] = rows[at + half]! * Math.cos(angle) + rows[at]! * Math.sin(angle);
      }
    }
  }
  return y;
}

/** Three turns into three slots: a prompt each, a second chunk of uneven lengths, then tokens one by one. */
async function checkTurns(
  gpu: Gpu,
  layout: HeadLayout,
  family: "lanes" | "tiled",
  prompts: readonly number[],
  scattered = false,
): Promise<void> {
  const { heads, kvHeads, headDim } = layout;
  const random = seeded(JSON.stringify(layout));
  const before = gpu.memory.live;
  const width = (heads + 2 * kvHeads) * headDim, wide = heads * headDim;
  const chunks = prompts.map((_, slot) => 5 + slot * 9), tokens = 3;
  const lengths = prompts.map((n, slot) => n + chunks[slot]! + tokens);
  const whole = lengths.map((n) => Float32Array.from({ length: n * width }, () => random.normal()));
  const expected = whole.map((rows, slot) =>
    attentionReference(turned(rows, layout), [lengths[slot]!], { ...layout, causal: true }).y
  );
  {
    using _scope = gpu.scope();
    const capacity = Math.max(...lengths) + 2;
    const pages = scattered ? 2 * lengths.map(pagesFor).reduce((a, b) => a + b) : undefined;
    using cache = new KvCache(gpu, 1, prompts.length, capacity, layout, pages);
    if (pages !== undefined) { // every slot has just what it needs, from anywhere, and no page's neighbour
      const order = Array.from({ length: pages / 2 }, (_, i) => 2 * i).sort(() => random.normal());
      lengths.forEach((n, slot) => cache.assign(slot, order.splice(0, pagesFor(n))));
    }
    const layer = cache.layers[0]!;
    for (const rest of [layer.keys, layer.values]) { // what was never written is not read
      gpu.write(rest, new Float32Array(rest.size).fill(NaN));
    }
    const table = ropeTable(gpu, headDim, capacity, 1e4);
    const step = async (from: number[], to: number[], rows?: CacheRows): Promise<void> => {
      const at = from.flatMap((start, slot) =>
        Array.from({ length: to[slot]! - start }, (_, i) => [slot, start + i] as const)
      );
      const host = new Float32Array(at.length * width), want = new Float64Array(at.length * wide);
      at.forEach(([slot, i], n) => {
        host.set(whole[slot]!.subarray(i * width, (i + 1) * width), n * width);
        want.set(expected[slot]!.subarray(i * wide, (i + 1) * wide), n * wide);
      });
      const prompts = packPrompts(
        gpu,
        from.map((start, slot) => ({ slot, from: start, to: to[slot]! })),
      );
      rows ??= prompts.rows;
      const qkv = gpu.tensor(host, [at.length, width]);
      appendToCache(layer, qkv, table, rows, layout);
      const y = attentionDecode(qkv, layer, rows, { ...layout, family });
      assertClose(await gpu.read(y), want, 1e-5, `rows ${from} to ${to}`);
      const together = attentionPrompts(qkv, layer, prompts, { ...layout, family });
      assertClose(await gpu.read(together), want, 1e-5, `prompts ${from} to ${to}`);
    };
    const second = prompts.map((n, slot) => n + chunks[slot]!);
    await step(prompts.map(() => 0), [...prompts]);
    await step([...prompts], second);
    const rows = rowsOf(gpu, prompts.map((_, slot) => slot), second);
    for (let token = 0; token < tokens; token++) {
      await step(second.map((n) => n + token), second.map((n) => n + token + 1), rows);
      advance(rows);
    }
  }
  assert(gpu.memory.live === before, `${gpu.memory.live - before} bytes left in use`);
}

/** Whether a device lacks what a family's kernels are written in. */
function cannot({ info }: Gpu, family: "lanes" | "tiled"): boolean {
  return family === "lanes" && info.subgroupSize !== LANES;
}

for (const family of ["lanes", "tiled"] as const) {
  for (const [heads, kvHeads, headDim] of [[4, 2, 8], [8, 2, 64], [3, 1, 24], [1, 1, 96]]) {
    const layout = { heads: heads!, kvHeads: kvHeads!, headDim: headDim! };
    gpuTest(
      `${family} decoding with ${heads}/${kvHeads} heads of width ${headDim} equals attention to the whole`,
      async (gpu) => {
        const slow = family === "tiled" && gpu.info.software && layout.headDim > 24;
        if (cannot(gpu, family) || slow) return; // seconds to compile
        await checkTurns(gpu, layout, family, [1, 63, 130]);
      },
    );
  }
  gpuTest(
    `${family} decoding finds pages wherever they are`,
    async (gpu) => {
      if (cannot(gpu, family)) return;
      const layout = { heads: 4, kvHeads: 2, headDim: 8 };
      await checkTurns(gpu, layout, family, [1, 130, 63, 300], true);
    },
  );
  gpuTest(
    `${family} decoding divides a long context among workgroups`,
    async (gpu) => {
      if (cannot(gpu, family)) return;
      await checkTurns(gpu, { heads: 2, kvHeads: 1, headDim: 24 }, family, [1500], true);
    },
  );
}

gpuTest("a cache refuses rows that do not fit", async (gpu) => {
  using _scope = gpu.scope();
  const layout = { heads: 4, kvHeads: 2, headDim: 8 };
  using cache = new KvCache(gpu, 1, 1, 10, layout);
  const layer = cache.layers[0]!;
  const rows = rowsOf(gpu, [0], [0]);
  const table = ropeTable(gpu, 8, 10, 1e4);
  assertThrows(() => appendToCache(layer, gpu.zeros([2, 64]), table, rows, layout), ShapeError);
  const narrow = ropeTable(gpu, 4, 10, 1e4);
  assertThrows(() => appendToCache(layer, gpu.zeros([1, 64]), narrow, rows, layout), ShapeError);
  assertThrows(
    () => attentionDecode(gpu.zeros([1, 48]), layer, rows, { ...layout, kvHeads: 1 }),
    ShapeError,
  );
  await gpu.wait();
});

gpuTest("rows beyond a cache's capacity, pages or slots are left out", async (gpu) => {
  using _scope = gpu.scope();
  const layout = { heads: 1, kvHeads: 1, headDim: 4 };
  using cache = new KvCache(gpu, 1, 3, 67, layout, 2);
  const { keys, values } = cache.layers[0]!;
  cache.assign(0, [0]);
  cache.assign(1, [1]);
  assertThrows(() => cache.assign(3, [0]), ShapeError);
  assertThrows(() => cache.assign(0, [2]), ShapeError);
  assertThrows(() => cache.assign(0, [0, 1, 0]), ShapeError);
  for (const tensor of [keys, values]) gpu.clear(tensor);
  const qkv = gpu.tensor(Float32Array.from({ length: 72 }, (_, i) => i + 1), [6, 12]);
  const rows = rowsOf(gpu, [0, 1, 2, 3, 0, 1], [67, 2, 0, 0, 64, 5000]);
  const unturned = ropeTable(gpu, 4, 1, 1e4); // position 0 does not turn, and others count as the last
  appendToCache(cache.layers[0]!, qkv, unturned, rows, layout);
  const expected = (first: number) => {
    const all = new Array(2 * PAGE_SIZE * 4).fill(0);
    for (let i = 0; i < 4; i++) all[(PAGE_SIZE + 2) * 4 + i] = first + i;
    return all;
  };
  assertEquals([...await gpu.read(keys)], expected(17));
  assertEquals([...await gpu.read(values)], expected(21));
});
