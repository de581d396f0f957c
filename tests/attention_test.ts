import { assert, assertEquals, assertThrows } from "@std/assert";
import { attention, type AttentionOptions } from "../kernels/attention.ts";
import { headParts } from "../kernels/attention/backward.ts";
import { LANES } from "../kernels/attention/lanes.ts";
import { add, startTape } from "../kernels/elementwise.ts";
import { chooseAdapter } from "../kernels/runtime/adapter.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { packSequences } from "../kernels/sequences.ts";
import { attentionReference } from "./support/attention_reference.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { openCard } from "./support/paths.ts";
import { seeded } from "./support/seeded.ts";

/** Whether a device lacks what a family's kernels are written in. */
function cannot({ info }: Gpu, family: "lanes" | "tiled"): boolean {
  return family === "lanes" && info.subgroupSize !== LANES;
}

/** Whether a device takes seconds to compile a family's kernels. */
function slow({ info }: Gpu, family: "lanes" | "tiled"): boolean {
  return family === "tiled" && info.software;
}

const ODD = [1, 3, 63, 17, 65, 197, 257];

/** Output and gradient on random rows against the analytic reference. */
async function check(
  gpu: Gpu,
  lengths: readonly number[],
  options: AttentionOptions,
): Promise<void> {
  const random = seeded(JSON.stringify([lengths, options]));
  const before = gpu.memory.live;
  const total = lengths.reduce((a, b) => a + b);
  const { heads, kvHeads, headDim } = options;
  const shape = [total, (heads + 2 * kvHeads) * headDim];
  const host = Float32Array.from({ length: shape[0]! * shape[1]! }, () => random.normal());
  const dyHost = Float32Array.from({ length: total * heads * headDim }, () => random.normal());
  const expected = attentionReference(host, lengths, options, dyHost);
  {
    using _scope = gpu.scope();
    using tape = startTape(gpu);
    const qkv = gpu.tensor(host, shape);
    qkv.requiresGrad = true;
    qkv.grad = gpu.empty(shape);
    const y = attention(qkv, packSequences(gpu, lengths), options);
    assertClose(await gpu.read(y), expected.y, 1e-5, "output");
    tape.backward([y], gpu.tensor(dyHost, y.shape));
    assertClose(await gpu.read(qkv.grad), expected.gradient, 1e-4, "gradient");
  }
  assert(gpu.memory.live === before, `${gpu.memory.live - before} bytes left in use`);
}

for (const family of ["lanes", "tiled"] as const) {
  for (const causal of [true, false]) {
    const name = `${family} ${causal ? "causal" : "full"} attention`;
    const smallest = { heads: 4, kvHeads: 2, headDim: 8, causal };
    const wide = causal
      ? [[2, 1, 24], [2, 2, 64]] as const
      : [[3, 3, 8], [4, 1, 24], [1, 1, 96]] as const;
    gpuTest(`${name} of the smallest sequences equals central differences`, async (gpu) => {
      if (cannot(gpu, family) || (slow(gpu, family) && causal)) return;
      await checkOperation(gpu, {
        name,
        op: (qkv) => attention(qkv!, packSequences(gpu, [3, 1, 9]), { ...smallest, family }),
        reference: (qkv) => attentionReference(qkv!, [3, 1, 9], smallest).y,
        shapes: [[13, 64]],
        samples: 60,
      });
    });
    for (const [heads, kvHeads, headDim] of wide) {
      gpuTest(
        `${name} of ${heads}/${kvHeads} heads of width ${headDim} equals its reference`,
        async (gpu) => {
          if (cannot(gpu, family) || (slow(gpu, family) && headDim !== (causal ? 24 : 8))) return;
          await check(gpu, ODD, { heads, kvHeads, headDim, causal, family });
        },
      );
    }
  }
}

gpuTest(
  "tiled attention of twice the invocations, where registers are few, equals its reference",
  async () => {
    using gpu = await openCard({ fewRegisters: true });
    await check(gpu, ODD, { heads: 2, kvHeads: 1, headDim: 24, causal: true, family: "tiled" });
  },
);

gpuTest(
  "tiled attention of smaller slices, where a workgroup has 16 KB, equals its reference",
  async ({ info }) => {
    const chosen = await chooseAdapter(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
    const device = await chosen.requestDevice();
    assertEquals(device.limits.maxComputeWorkgroupStorageSize, 16384);
    using gpu = new Gpu(device, { ...info, software: false, subgroupSize: 0 });
    await check(gpu, ODD, { heads: 2, kvHeads: 1, headDim: 24, causal: true, family: "tiled" });
  },
);

for (const headDim of [8, 16]) {
  gpuTest(
    `attention of more rows than a texture is high, heads of width ${headDim}`,
    async (gpu) => {
      if (cannot(gpu, "lanes")) return;
      const options = { heads: 2, kvHeads: 1, headDim, causal: true, family: "lanes" } as const;
      await check(gpu, Array(640).fill(27), options);
    },
  );
}

Deno.test("keys' gradient is computed in as few parts as make enough workgroups, at most one for a query head", () => {
  const parts = (workgroups: number, heads: number, kvHeads: number) =>
    headParts(workgroups, { heads, kvHeads, headDim: 64 });
  assertEquals([1, 230, 512, 1023, 1024].map((n) => parts(n, 8, 2)), [4, 4, 2, 2, 1]);
  assertEquals([400, 200, 1].map((n) => parts(n, 6, 1)), [3, 6, 6]);
  assertEquals(parts(1, 4, 4), 1);
});

gpuTest("tiles furthest into their sequence come first in one of their orders", async (gpu) => {
  using _scope = gpu.scope();
  const { tiles, furthestFirst } = packSequences(gpu, [65, 3, 130]);
  const last = [[196, 2, 68, 198], [64, 1, 0, 65], [132, 64, 68, 198]];
  const first = [[0, 64, 0, 65], [65, 3, 65, 68], [68, 64, 68, 198]];
  assertEquals([...await gpu.readUint32(furthestFirst)], [...last, ...first].flat());
  assertEquals(tiles.shape, furthestFirst.shape);
});

gpuTest("attention adds its gradient to what flowed before", async (gpu) => {
  const options = { heads: 4, kvHeads: 2, headDim: 8, causal: true };
  await checkOperation(gpu, {
    name: "attention twice",
    op: (qkv) => {
      const sequences = packSequences(gpu, [5, 8]);
      const once = attention(qkv!, sequences, options);
      return add(once, attention(qkv!, sequences, { ...options, scale: 0.1 }));
    },
    reference: (qkv) => {
      const once = attentionReference(qkv!, [5, 8], options).y;
      const again = attentionReference(qkv!, [5, 8], { ...options, scale: 0.1 }).y;
      return once.map((v, i) => v + again[i]!);
    },
    shapes: [[13, 64]],
  });
});

gpuTest("attention refuses heads and sequences that do not fit", async (gpu) => {
  using _scope = gpu.scope();
  const sequences = packSequences(gpu, [5]);
  const options = { heads: 4, kvHeads: 2, headDim: 8, causal: true };
  assertThrows(() => attention(gpu.zeros([6, 64]), sequences, options), ShapeError);
  assertThrows(() => attention(gpu.zeros([5, 72]), sequences, options), ShapeError);
  assertThrows(
    () => attention(gpu.zeros([5, 48]), sequences, { ...options, headDim: 6 }),
    ShapeError,
  );
  assertThrows(
    () => attention(gpu.zeros([5, 72]), sequences, { ...options, heads: 5 }),
    ShapeError,
  );
  assertThrows(() => packSequences(gpu, [3, 0]), ShapeError);
  assertThrows(() => packSequences(gpu, []), ShapeError);
  await gpu.wait();
});
