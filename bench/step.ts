/**
 * Whole training steps and the whole vision tower, beside what arithmetic and memory allow on this adapter.
 *
 *     deno task bench:step [--batch_size 4] [--only sft] [--device gpu]
 *
 * Prints Markdown. On a graphics card steps are timed ten in a row, as training records them. "possible" is the longer of two times: the step's arithmetic at the speed of a large product, and its
 * least traffic (weights, optimizer, activations kept for the backward pass) at the speed of a copy. "host" is the time
 * in which the step is recorded and handed over, while the device may work at the one before.
 */
import { parseArgs } from "node:util";
import { measureDevice } from "../kernels/measure.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { estimateMemory } from "../train/memory_estimate.ts";
import { encoderFlops, randomVlm, TrainingStep, type Workload } from "./support/workload.ts";
import { measureCalls } from "./support/measure_calls.ts";

const { values: given } = parseArgs({
  options: {
    device: { type: "string", default: "gpu" },
    batch_size: { type: "string" },
    only: { type: "string", default: "" },
  },
});
using gpu = await Gpu.open(given.device);
const batch = Number(given.batch_size ?? (gpu.info.software ? 2 : 16));
const { gflops, gigabytes } = await measureDevice(gpu);

const small = { hiddenSize: 512, layers: 8, moe: false, cached: false, recomputes: false };
const pretrain = { ...small, stage: "pretrain", lengths: [246], answer: 24 } as const;
const sft = { ...small, stage: "sft", lengths: [420, 340, 512, 380], answer: 180 } as const;
const WORKLOADS: Record<string, Workload> = {
  "pretrain 26M": pretrain,
  "pretrain 26M, from the second epoch": { ...pretrain, cached: true },
  "pretrain 104M": { ...pretrain, hiddenSize: 768, layers: 16 },
  "pretrain MoE": { ...pretrain, moe: true },
  "sft 26M": sft,
  "sft 26M, blocks computed again": { ...sft, recomputes: true },
  "sft 104M": { ...sft, hiddenSize: 768, layers: 16 },
  "sft MoE": { ...sft, moe: true },
};

/** Bytes that a step cannot avoid to read and write. */
function leastBytes({ vlm, batch }: TrainingStep): number {
  const longest = Math.max(...batch.lengths);
  const { step } = estimateMemory(vlm, { samples: batch.lengths.length, length: longest });
  const trained = vlm.parameters.trainedCount;
  return 2 * vlm.parameters.bytes + 28 * trained + 2 * step;
}

function row(name: string, cells: readonly string[]): void {
  console.log(`| ${[name, ...cells].join(" | ")} |`);
}

console.log(
  `${gpu.info.name}, batch ${batch}: a product at ${gflops.toFixed(0)} GFLOP/s, a copy at ${
    gigabytes.toFixed(1)
  } GB/s.\n`,
);
row("", [
  "s",
  "GFLOP/s",
  "possible s",
  "share",
  "host ms",
  "of the step",
  "dispatches",
  "peak memory",
]);
row("---", Array(8).fill("---"));

interface Part {
  readonly flops: number;
  readonly bytes: number;
  record(): void;
}

async function measure(name: string, { flops, bytes, record }: Part): Promise<void> {
  const { seconds, host, counts, peak } = await measureCalls(gpu, record);
  const possible = Math.max(flops / gflops, bytes / gigabytes) / 1e9;
  row(name, [
    seconds.toFixed(3),
    (flops / seconds / 1e9).toFixed(1),
    possible.toFixed(3),
    `${(100 * possible / seconds).toFixed(0)}%`,
    (1e3 * host).toFixed(1),
    `${(100 * host / seconds).toFixed(1)}%`,
    String(counts.dispatches),
    formatBytes(peak),
  ]);
}

if ("CLIP".includes(given.only)) {
  using vlm = randomVlm(gpu, pretrain);
  const pictures = new Uint8Array(batch * 3 * 224 * 224).fill(90);
  const flops = encoderFlops(vlm.config.vision!, batch);
  const bytes = vlm.visionParameters.bytes + 2 * 4 * 12 * batch * 197 * 768;
  await measure("CLIP", {
    flops,
    bytes,
    record: () => vlm.encodePictures(pictures, batch).dispose(),
  });
}
for (const [name, work] of Object.entries(WORKLOADS)) {
  if (!name.includes(given.only)) continue;
  const lengths = Array.from({ length: batch }, (_, i) => work.lengths[i % work.lengths.length]!);
  using step = new TrainingStep(gpu, { ...work, lengths });
  const { flops } = step;
  await measure(name, { flops, bytes: leastBytes(step), record: () => step.record() });
  gpu.trim();
}
