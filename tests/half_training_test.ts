import { assert, assertEquals, assertThrows } from "@std/assert";
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { HalfDtype, Precision } from "../kernels/runtime/precision.ts";
import type { Vlm } from "../model/vlm.ts";
import { Guards } from "../train/guards.ts";
import type { StepMetrics } from "../train/metrics.ts";
import { choosePrecision } from "../train/precision.ts";
import { goldenVlm } from "./support/golden.ts";
import { assertClose } from "./support/gradient_check.ts";
import { gpuTest, leakFreeTest } from "./support/gpu.ts";
import { textBatch, train } from "./support/text_training.ts";

/** The precisions that a device has. */
function halves({ info }: Gpu): readonly HalfDtype[] {
  return info.float16 ? ["float16", "bfloat16"] : ["bfloat16"];
}

/** Steps of the comparison of losses. */
const STEPS = Number(Deno.env.get("GLIMPSE_HALF_STEPS") ?? 30);

for (const name of ["dense", "moe"] as const) {
  gpuTest(`${name}: losses in half precision are within 2% of those in float32`, async (gpu) => {
    const batches = Array.from({ length: STEPS }, (_, i) => textBatch(`text ${i}`, 4, 33, 0.3));
    const losses = async (precision: Precision): Promise<number[]> => {
      using vlm = await goldenVlm(gpu, name, 0, precision);
      const metrics = await train(vlm, batches, { rate: 3e-3, steps: STEPS }, precision);
      return metrics.map(({ loss }) => loss);
    };
    const expected = await losses("float32");
    assert(expected.at(-1)! < 0.8 * expected[0]!, "nothing was learnt");
    for (const precision of halves(gpu)) {
      const found = await losses(precision);
      const worst = Math.max(...found.map((loss, i) => Math.abs(loss / expected[i]! - 1)));
      assert(worst < 0.02, `${precision}: a loss is ${100 * worst}% off`);
      assert(worst > 0, `${precision} is float32`);
    }
  });

  for (const precision of ["float32", "float16", "bfloat16"] as const) {
    gpuTest(`${name} in ${precision} learns a batch by heart`, async (gpu) => {
      if (precision === "float16" && !gpu.info.float16) return;
      const before = gpu.memory.live;
      {
        using vlm = await goldenVlm(gpu, name, 0, precision);
        const batch = textBatch("by heart", 2, 17, 1);
        const metrics = await train(vlm, [batch], { rate: 1e-2, steps: 200 }, precision, 0.05);
        assert(metrics.at(-1)!.loss < 0.05, `the loss is ${metrics.at(-1)!.loss}`);
      }
      assertEquals(gpu.memory.live, before, "bytes left in use");
    });
  }
}

gpuTest("overflows are left out, halve the loss scale, and training goes on", async (gpu) => {
  if (!gpu.info.float16) return;
  using vlm = await goldenVlm(gpu, "dense", 0, "float16");
  const weight = async () => [...await gpu.read(vlm.parameters.get("model.embed_tokens.weight"))];
  const batch = textBatch("overflow", 2, 17, 1);
  const start = await weight();
  const lossScale = 2 ** 90; // beyond float32 too, which cards read gradients in
  const first = await train(vlm, [batch], { rate: 1e-2, steps: 1, lossScale }, "float16");
  assertEquals(first.map(({ loss_scale }) => loss_scale), [2 ** 89]);
  assert(Number.isFinite(first[0]!.loss) && !Number.isFinite(first[0]!.grad_norm));
  assertEquals(await weight(), start);

  const all = await train(vlm, [batch], { rate: 1e-2, steps: 120, lossScale }, "float16");
  const found = all.findIndex(({ grad_norm }) => Number.isFinite(grad_norm));
  assert(found > 1 && found < 90, `${found} updates were left out`);
  all.forEach(({ loss, grad_norm, loss_scale }, i) => {
    assertEquals(loss_scale, 2 ** (90 - Math.min(i + 1, found)), `update ${i + 1}`);
    assertEquals(Number.isFinite(grad_norm), i >= found);
    if (i <= found) assertEquals(loss, all[0]!.loss, `update ${i + 1}`);
  });
  assert(all.at(-1)!.loss < 0.5 * all[0]!.loss, `the loss is ${all.at(-1)!.loss}`);
});

gpuTest("the loss scale does not change what is learnt", async (gpu) => {
  if (!gpu.info.float16) return;
  const batch = textBatch("scales", 2, 17, 1);
  const losses: number[][] = [];
  for (const lossScale of [2 ** 10, 2 ** 14]) {
    using vlm = await goldenVlm(gpu, "dense", 0, "float16");
    const metrics = await train(vlm, [batch], { rate: 1e-2, steps: 10, lossScale }, "float16");
    losses.push(metrics.map(({ loss }) => loss));
  }
  assertClose(losses[0]!, losses[1]!, 1e-3, "losses");
});

gpuTest("overflows in a row are no bad updates until the loss scale is below 1", (_gpu) => {
  const said: string[] = [];
  const guards = new Guards(2, (text) => said.push(text));
  const update = (loss: number, loss_scale?: number): StepMetrics => ({
    ...{ step: said.length + 1, epoch: 1, loss, aux_loss: 0, lr: 1, grad_norm: Infinity },
    ...{ tokens: 1, samples: 1, seconds: 1, ...loss_scale !== undefined && { loss_scale } },
  });
  for (const scale of [32768, 4, 2, 1]) guards.check(update(3, scale));
  assert(said.every((text, i) => text.startsWith(`update ${i + 1}: a gradient exceeds float16`)));
  assert(said[0]!.endsWith("the loss scale is now 32768."), said[0]);
  guards.check(update(3, 0.5));
  assertThrows(() => guards.check(update(3, 0.25)), GlimpseError, "2 updates in a row");
  const others = new Guards(2, () => {});
  others.check(update(NaN, 32768));
  assertThrows(() => others.check(update(3)), GlimpseError, "no finite gradient");
  return Promise.resolve();
});

leakFreeTest("frozen operands are kept in half precision alone", async (gpu) => {
  using full = await goldenVlm(gpu, "dense", 1);
  for (const precision of halves(gpu)) {
    using vlm = await goldenVlm(gpu, "dense", 1, precision);
    const tower = vlm.visionParameters.get("vision_model.encoder.layers.0.mlp.fc1.weight");
    assertEquals([tower.dtype, tower.half], [precision, undefined]);
    assertEquals(vlm.visionParameters.get("vision_model.pre_layrnorm.weight").dtype, "float32");
    const projection = vlm.parameters.get("vision_proj.vision_proj.0.weight");
    assertEquals([projection.dtype, projection.half?.dtype], ["float32", precision]);
    // what is saved must not lose the digits that float16 files have and bfloat16 has not
    const table = vlm.parameters.get("model.embed_tokens.weight");
    assertEquals(table.dtype, precision === "float16" ? "float16" : "float32");
    assertEquals(table.half?.dtype, precision === "float16" ? undefined : "bfloat16");
    const saved = async (vlm: Vlm) =>
      await Promise.all(
        [...vlm.parameters.tensors("float16")].map(async (tensor) => [...await tensor.read()]),
      );
    assertEquals(await saved(vlm), await saved(full), precision);

    const bytes = Uint8Array.from({ length: 3 * 224 * 224 }, (_, i) => (i * 7919) % 256);
    using _scope = gpu.scope();
    const exact = await gpu.read(full.encodePictures(bytes, 1));
    const features = await gpu.read(vlm.encodePictures(bytes, 1));
    assertClose(features, exact, precision === "float16" ? 2e-3 : 2e-2, "features");
    assert(features.some((v, i) => v !== exact[i]), `${precision} is float32`);
  }
});

Deno.test("the precision follows the adapter, and float16 needs it in shaders", () => {
  const adapter = {
    name: "Some GPU",
    subgroupSize: 0,
    fewRegisters: false,
    timestamps: false,
    declaresSubgroups: false,
  };
  const gpu = { ...adapter, software: false, float16: true };
  assertEquals(choosePrecision(gpu, undefined), "float16");
  assertEquals(choosePrecision({ ...gpu, software: true }, undefined), "float32");
  assertEquals(choosePrecision({ ...gpu, float16: false }, undefined), "float32");
  assertEquals(choosePrecision({ ...gpu, float16: false }, "bfloat16"), "bfloat16");
  assertEquals(choosePrecision({ ...gpu, software: true }, "float16"), "float16");
  assertThrows(
    () => choosePrecision({ ...gpu, float16: false }, "float16"),
    UsageError,
    'The adapter "Some GPU" has no half precision',
  );
});
