/**
 * Glimpse's side of `versus_pytorch.ts`: the steps that `pytorch/step.py` takes, --steps in a row for each line that comes
 * in.
 *
 * Samples have one picture each; --cached gives the features of pictures that have been encoded before.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Precision } from "../../kernels/runtime/precision.ts";
import { formatProfile, Profiler } from "../../kernels/runtime/profiler.ts";
import { type Batch, packSamples, type Sample } from "../../model/batch.ts";
import { Decoder } from "../../model/decoder.ts";
import { Random } from "../../model/random.ts";
import { AdamW } from "../../train/optimizer.ts";
import { choosePrecision, LOSS_SCALE } from "../../train/precision.ts";
import { Trainer } from "../../train/trainer.ts";
import { PATCHES, randomVlm, sampleOf, START, type Workload } from "../support/workload.ts";

const { values: given } = parseArgs({
  options: {
    stage: { type: "string", default: "pretrain" },
    hidden_size: { type: "string", default: "512" },
    num_hidden_layers: { type: "string", default: "8" },
    batch_size: { type: "string", default: "4" },
    lengths: { type: "string", default: "246" },
    answer: { type: "string", default: "24" },
    use_moe: { type: "boolean", default: false },
    steps: { type: "string", default: "1" },
    precision: { type: "string" },
    cached: { type: "boolean", default: false },
    checkpoint_activations: { type: "boolean", default: false },
    device: { type: "string", default: "gpu" },
    compilers: { type: "string", default: "0" },
    profile: { type: "boolean", default: false },
  },
});
const answer = Number(given.answer);
const lengths = given.lengths.split(",").map(Number);
const random = new Random(1);

using gpu = await Gpu.open(given.device, Number(given.compilers));
const precision = choosePrecision(gpu.info, given.precision as Precision | undefined);
const work = {
  stage: given.stage as Workload["stage"],
  hiddenSize: Number(given.hidden_size),
  layers: Number(given.num_hidden_layers),
  moe: given.use_moe,
};
using vlm = randomVlm(gpu, work, { precision });
const samples = Array.from(
  { length: Number(given.batch_size) },
  (_, i) => sampleOf(i, lengths[i % lengths.length]!, answer, random),
);
const batch = packSamples(samples, PATCHES);
using features = given.cached ? vlm.encodePictures(batch.pictures, batch.pictureCount) : undefined;

/** Steps taken: their number, and of each the samples, the tokens and the host's seconds. */
interface Steps {
  steps: number;
  loss: number;
  samples: number;
  tokens: number;
  hostSeconds?: number;
}

/** Takes steps in a row, then waits for their numbers. */
function trainSteps(batch: Batch, steps: number): () => Promise<Steps> {
  const lossScale = precision === "float16" ? LOSS_SCALE : undefined;
  const optimizer = new AdamW(gpu, vlm.groups, { clip: 1, lossScale });
  const trainer = new Trainer(vlm, optimizer, {
    epochs: 1,
    stepsPerEpoch: 1e6,
    learningRates: { projector: 4e-4, language: 4e-4 },
    warmupSteps: 0,
    accumulationSteps: 1,
    compat: false,
    readEvery: Infinity,
    checkpointActivations: given.checkpoint_activations,
  });
  let step = 0;
  const record = async () => {
    const start = performance.now();
    let recorded = start;
    const submit = gpu.submit.bind(gpu);
    gpu.submit = () => {
      recorded = performance.now(); // the device begins; what comes after waits for it
      gpu.submit = submit;
      submit();
    };
    const placed = { epoch: 0, step: step++, batch, ...features && { features } };
    await trainer.step(placed);
    return (recorded - start) / 1000;
  };
  return async () => {
    let hostSeconds = 0;
    for (let i = 0; i < steps; i++) hostSeconds += await record() / steps;
    return {
      steps,
      loss: (await trainer.flush()).at(-1)!.metrics.loss,
      samples: batch.samples,
      tokens: samples.reduce((sum, { ids }) => sum + ids.length, 0),
      hostSeconds,
    };
  };
}

/** Reads a prompt, untimed, and continues it greedily. */
function decodeSteps({ ids, pictures }: Sample): () => Promise<Steps> {
  const decoder = new Decoder(vlm, ids.length + answer);
  const imageRows = Uint32Array.from({ length: PATCHES }, (_, i) => START + i);
  const seen = vlm.encodePictures(pictures[0]!, 1);
  return async () => {
    decoder.clear();
    decoder.read({ ids, imageRows, pictureCount: 1 }, seen);
    await gpu.wait();
    begun = [performance.now(), process.cpuUsage()];
    const options = { maxNewTokens: answer, temperature: 0, stopIds: [], random };
    const said = await Array.fromAsync(decoder.generate(options));
    return { steps: 1, loss: 0, samples: 1, tokens: said.length };
  };
}

/** The most memory so far: on the device, or of the process where the device is the processor. */
function peakMemory(): number {
  return gpu.info.software ? process.resourceUsage().maxRSS * 1024 : gpu.memory.peak;
}

let begun: [number, NodeJS.CpuUsage] = [0, { user: 0, system: 0 }];
const take = given.stage === "decode"
  ? decodeSteps(samples[0]!)
  : trainSteps(batch, Number(given.steps));
let taken = 0;
for await (const line of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  for (const _ of line.matchAll(/\n/g)) {
    using profiler = given.profile && taken > 0 ? new Profiler(gpu) : undefined;
    gpu.profiler = profiler;
    begun = [performance.now(), process.cpuUsage()];
    const { steps, ...step } = await take();
    const seconds = (performance.now() - begun[0]) / 1000 / steps;
    const { user, system } = process.cpuUsage(begun[1]);
    taken++;
    const numbers = {
      ...step,
      seconds,
      cpu_seconds: (user + system) / 1e6 / steps,
      memory: peakMemory(),
    };
    console.log(JSON.stringify(numbers));
    if (profiler) console.error(formatProfile(await profiler.table()));
  }
}
