/**
 * Glimpse's side of `versus_pytorch.ts`: the steps that `pytorch/step.py` takes, one for each line that comes in.
 *
 * Samples have one picture each; --cached gives the features of pictures that have been encoded before.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { Gpu } from "../../kernels/runtime/gpu.ts";
import { formatProfile, Profiler } from "../../kernels/runtime/profiler.ts";
import { type Batch, packSamples, type Sample } from "../../model/batch.ts";
import { Decoder } from "../../model/decoder.ts";
import { Random } from "../../model/random.ts";
import { AdamW } from "../../train/optimizer.ts";
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
using vlm = randomVlm(gpu, {
  stage: given.stage as Workload["stage"],
  hiddenSize: Number(given.hidden_size),
  layers: Number(given.num_hidden_layers),
  moe: given.use_moe,
});
const samples = Array.from(
  { length: Number(given.batch_size) },
  (_, i) => sampleOf(i, lengths[i % lengths.length]!, answer, random),
);
const batch = packSamples(samples, PATCHES);
using features = given.cached ? vlm.encodePictures(batch.pictures, batch.pictureCount) : undefined;

interface Step {
  loss: number;
  samples: number;
  tokens: number;
  hostSeconds?: number;
}

/** Takes a step and waits for its numbers. */
function trainSteps(batch: Batch): () => Promise<Step> {
  const optimizer = new AdamW(gpu, vlm.parameters.groups, { clip: 1 });
  const trainer = new Trainer(vlm, optimizer, {
    epochs: 1,
    stepsPerEpoch: 1e6,
    learningRates: { projector: 4e-4, language: 4e-4 },
    warmupSteps: 0,
    accumulationSteps: 1,
    compat: false,
    checkpointActivations: given.checkpoint_activations,
  });
  let step = 0;
  return async () => {
    const start = performance.now();
    let recorded = start;
    const submit = gpu.submit.bind(gpu);
    gpu.submit = () => {
      recorded = performance.now(); // the device begins; what comes after waits for it
      gpu.submit = submit;
      submit();
    };
    const placed = { epoch: 0, step: step++, batch, ...features && { features } };
    const early = await trainer.step(placed);
    const update = early.at(-1) ?? (await trainer.flush()).at(-1)!;
    const hostSeconds = (recorded - start) / 1000;
    return {
      loss: update.metrics.loss,
      samples: batch.samples,
      tokens: samples.reduce((sum, { ids }) => sum + ids.length, 0),
      hostSeconds,
    };
  };
}

/** Reads a prompt, untimed, and continues it greedily. */
function decodeSteps({ ids, pictures }: Sample): () => Promise<Step> {
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
    return { loss: 0, samples: 1, tokens: said.length };
  };
}

/** The most memory so far: on the device, or of the process where the device is the processor. */
function peakMemory(): number {
  return gpu.info.software ? process.resourceUsage().maxRSS * 1024 : gpu.memory.peak;
}

let begun: [number, NodeJS.CpuUsage] = [0, { user: 0, system: 0 }];
const take = given.stage === "decode" ? decodeSteps(samples[0]!) : trainSteps(batch);
let taken = 0;
for await (const line of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  for (const _ of line.matchAll(/\n/g)) {
    using profiler = given.profile && taken > 0 ? new Profiler(gpu) : undefined;
    gpu.profiler = profiler;
    begun = [performance.now(), process.cpuUsage()];
    const step = await take();
    const seconds = (performance.now() - begun[0]) / 1000;
    const { user, system } = process.cpuUsage(begun[1]);
    taken++;
    const numbers = { ...step, seconds, cpu_seconds: (user + system) / 1e6, memory: peakMemory() };
    console.log(JSON.stringify(numbers));
    if (profiler) console.error(formatProfile(await profiler.table()));
  }
}
