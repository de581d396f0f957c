import { assert, assertThrows } from "@std/assert";
import { attention, type AttentionOptions } from "../kernels/attention.ts";
import { startTape } from "../kernels/elementwise.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { packSequences } from "../kernels/sequences.ts";
import { attentionReference } from "./support/attention_reference.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { seeded } from "./support/seeded.ts";

const FAMILIES = ["lanes", "tiled"] as const;
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

for (const family of FAMILIES) {
  for (const causal of [true, false]) {
    const name = `${family} ${causal ? "causal" : "full"} attention`;
    gpuTest(
      `${name} of the smallest sequences equals central differences`,
      (gpu) =>
        checkOperation(gpu, {
          name,
          op: (qkv) =>
            attention(qkv!, packSequences(gpu, [3, 1, 9]), {
              heads: 4,
              kvHeads: 2,
              headDim: 8,
              causal,
              family,
            }),
          reference: (qkv) =>
            attentionReference(qkv!, [3, 1, 9], { heads: 4, kvHeads: 2, headDim: 8, causal }).y,
          shapes: [[13, 64]],
          samples: 60,
        }),
    );
    for (const [heads, kvHeads, headDim] of [[4, 2, 8], [2, 1, 24], [2, 2, 64], [1, 1, 96]]) {
      gpuTest(
        `${name} of ${heads}/${kvHeads} heads of width ${headDim} equals its reference`,
        (gpu) =>
          check(gpu, ODD, {
            heads: heads!,
            kvHeads: kvHeads!,
            headDim: headDim!,
            causal,
            family,
          }),
      );
    }
  }
}

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
