import { assert, assertEquals } from "@std/assert";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { packSamples } from "../model/batch.ts";
import { clipVisionConfig, miniMindConfig } from "../model/config.ts";
import type { ParameterGroup } from "../model/parameters.ts";
import { Random } from "../model/random.ts";
import { Vlm } from "../model/vlm.ts";
import { ALONE, type Communicator } from "../train/communicator.ts";
import { trainPolicy } from "../train/freeze.ts";
import { GradientSums } from "../train/gradient_sums.ts";
import type { StepMetrics } from "../train/metrics.ts";
import { AdamW } from "../train/optimizer.ts";
import { Trainer, type TrainerOptions } from "../train/trainer.ts";
import { gpuTest } from "./support/gpu.ts";
import { together } from "./support/ranks.ts";
import { seeded } from "./support/seeded.ts";

const random = seeded("sums of gradients");

/** A group of parameters of these sizes whose gradients are given. */
function group(gpu: Gpu, gradients: Float32Array<ArrayBuffer>, sizes: number[]): ParameterGroup {
  const flat = gpu.tensor(gradients, [gradients.length]);
  let start = 0;
  const tensors = sizes.map((size) => {
    const tensor = gpu.zeros([size]);
    tensor.grad = flat.view([size], start);
    tensor.gradFilled = true;
    start += Math.ceil(size / 64) * 64;
    return tensor;
  });
  return { name: "group", values: flat, gradients: flat, tensors, names: sizes.map(String) };
}

gpuTest("buckets go whole and in one order, whatever is complete first", async (gpu) => {
  using _scope = gpu.scope();
  const sizes = [200, 64, 1, 130, 500];
  const size = 256 + 64 + 64 + 192 + 512;
  const given = [0, 1, 2].map(() => Float32Array.from({ length: size }, () => random.normal()));
  const orders = [[4, 3, 2, 1, 0], [0, 4, 2, 3, 1], []];
  const lengths: number[][] = [[], [], []];
  const early: number[] = [];
  const results: Float32Array[] = [];
  await together(3, async (ranks) => {
    const { rank } = ranks;
    const own = group(gpu, given[rank]!, sizes);
    if (rank === 2) own.tensors[1]!.gradFilled = false; // holds what an older step left
    const sum = async (values: Float32Array<ArrayBuffer>) => {
      lengths[rank]!.push(values.length);
      await ranks.sum(values);
    };
    using sums = new GradientSums(gpu, ranks, [own], sum, 256);
    for (const i of orders[rank]!) await sums.complete(own.tensors[i]!);
    for (let tries = 0; rank === 0 && lengths[0]!.length === 0 && tries < 2000; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 5)); // the device's own time
    }
    early[rank] = lengths[rank]!.length;
    await sums.finish();
    results[rank] = await gpu.read(own.gradients);
  });
  given[2]!.fill(0, 256, 256 + 64);
  const expected = given[0]!.map((x, i) => x + given[1]![i]! + given[2]![i]!);
  for (const result of results) assertEquals(result, expected);
  for (const each of lengths) assertEquals(each, [64, 256, 256, 256, 256]);
  assert(early[0]! > 0, "the first sum begins before the last gradient is there");
  assertEquals(early[2], 0);
});

const CONFIG = {
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 100,
  max_position_embeddings: 64,
};
const VISION = {
  hidden_size: 64,
  intermediate_size: 64,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  image_size: 32,
  patch_size: 16,
};

/** Samples of a few tokens, most with a picture, some with nothing to learn. */
const SAMPLES = Array.from({ length: 12 }, (_, index) => {
  const length = 12 + index;
  const pictured = index % 4 !== 3;
  return {
    index,
    ids: Uint32Array.from({ length }, (_, i) => pictured && i < 4 ? 1 : (7 * i + index) % 100),
    mask: Uint8Array.from({ length }, (_, i) => Number(i > 5 && index % 5 !== 1)),
    pictureStarts: pictured ? [0] : [],
    pictures: pictured
      ? [Uint8Array.from({ length: 3 * 32 * 32 }, (_, i) => (i * (index + 3)) % 256)]
      : [],
  };
});

/** Ten updates of two batches of six samples, on some ranks. */
async function train(
  gpu: Gpu,
  ranks: Communicator,
  moe: boolean,
  options: Partial<TrainerOptions>,
): Promise<StepMetrics[]> {
  const before = gpu.memory.live;
  const rows: StepMetrics[] = [];
  {
    const language = miniMindConfig({ ...CONFIG, use_moe: moe });
    const colours = { imageMean: [0.5, 0.5, 0.5], imageStd: [0.3, 0.3, 0.3] } as const;
    const vision = clipVisionConfig(VISION);
    using vlm = new Vlm(gpu, { language, vision, ...colours }, trainPolicy(0, 2, moe));
    vlm.parameters.initialize(new Random(1));
    vlm.visionParameters.initialize(new Random(2));
    using optimizer = new AdamW(gpu, vlm.groups, { clip: 1 });
    const rate = 3e-3;
    using trainer = new Trainer(vlm, optimizer, {
      epochs: 1,
      stepsPerEpoch: 20,
      learningRates: { language: rate, projector: rate, vision: rate },
      warmupSteps: 0,
      accumulationSteps: 2,
      compat: false,
      ranks,
      ...options,
    });
    const each = 6 / ranks.size;
    for (let step = 0; step < 20; step++) {
      const start = step % 2 * 6 + ranks.rank * each;
      const batch = packSamples(SAMPLES.slice(start, start + each), 4);
      rows.push(...(await trainer.step({ epoch: 0, step, batch })).map(({ metrics }) => metrics));
    }
    rows.push(...(await trainer.flush()).map(({ metrics }) => metrics));
  }
  assertEquals(gpu.memory.live, before, "bytes left in use");
  return rows;
}

async function trainTogether(
  size: number,
  moe: boolean,
  options: Partial<TrainerOptions>,
): Promise<StepMetrics[]> {
  const results: StepMetrics[][] = [];
  await together(size, async (ranks) => {
    using own = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE")); // a device has one tape and one scope at a time
    results[ranks.rank] = await train(own, ranks, moe, options);
  });
  const [first] = results;
  for (const other of results) {
    assertEquals(other.map(({ loss, grad_norm }) => [loss, grad_norm]), numbers(first!));
  }
  return first!;
}

const numbers = (rows: StepMetrics[]) => rows.map(({ loss, grad_norm }) => [loss, grad_norm]);

for (const [size, moe] of [[3, true], [6, false]] as const) {
  const name = `${size} ranks learn as one does${moe ? ", with experts" : ""}`;
  gpuTest(`${name}, sending during the backward pass or after it`, async (gpu) => {
    const alone = await train(gpu, ALONE, moe, {});
    const during = await trainTogether(size, moe, { overlap: true });
    assertEquals(during.length, 10);
    during.forEach(({ loss, aux_loss, grad_norm }, i) => {
      const expected = alone[i]!;
      for (
        const [value, whole] of [
          [loss, expected.loss],
          [aux_loss, expected.aux_loss],
          [grad_norm, expected.grad_norm],
        ] as const
      ) {
        assert(
          Math.abs(value - whole) <= 1e-4 * Math.max(1, whole),
          `update ${i + 1}: ${value}, not ${whole}`,
        );
      }
    });
    const after = await trainTogether(size, moe, { overlap: false });
    assertEquals(numbers(after), numbers(during));
  });
}
