/** Glimpse's side of `generate.ts`: loads a folder's weights and answers each line {"batch", "context", "tokens"} with its times. */
import process from "node:process";
import { parseArgs } from "node:util";
import { DISK } from "../../data/disk.ts";
import { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Precision } from "../../kernels/runtime/precision.ts";
import { BatchDecoder } from "../../model/batch_decoder.ts";
import { readVlm } from "../../model/load_vlm.ts";
import { Random } from "../../model/random.ts";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "gpu" },
    weights: { type: "string", default: "float32" },
    theta: { type: "string", default: "1e6" },
  },
});
const q8 = given.weights === "q8";
using gpu = await Gpu.open(given.device);
const { vlm } = await readVlm(DISK, gpu, {
  weights: positionals[0]!,
  language: { rope_theta: Number(given.theta) },
  precision: q8 ? "float32" : given.weights as Precision,
  quantization: q8 ? "q8" : undefined,
  random: new Random(0),
});

const weightBytes = vlm.parameters.specs.reduce(
  (sum, { name }) => sum + vlm.parameters.get(name).bytes,
  0,
);

interface Request {
  batch: number;
  context: number;
  tokens: number;
}

async function answer({ batch, context, tokens }: Request) {
  using decoder = new BatchDecoder(vlm, batch, context + tokens);
  const start = performance.now(), cpu = process.cpuUsage();
  const sequences = Array.from({ length: batch }, (_, row) => {
    const ids = Uint32Array.from(
      { length: context },
      (_, i) => 100 + (i * 7919 + row * 104729) % 6300,
    );
    const prompt = { ids, imageRows: new Uint32Array(), pictureCount: 0 };
    const random = new Random(0);
    return decoder.join(prompt, [], { maxNewTokens: tokens, temperature: 0, stopIds: [], random });
  });
  while (sequences.some(({ started }) => !started)) await decoder.step(1);
  const first = performance.now();
  const before = { ...gpu.counts };
  while (decoder.running > 0) await decoder.step(16);
  const end = performance.now();
  const { user, system } = process.cpuUsage(cpu);
  const per = (key: "dispatches" | "submits" | "readbacks") =>
    (gpu.counts[key] - before[key]) / (tokens - 1);
  return {
    first: (first - start) / 1000,
    rest: (end - first) / 1000,
    cpu: (user + system) / 1e6,
    ids: sequences.map(({ answer }) => [...answer]),
    dispatches: per("dispatches"),
    submits: per("submits"),
    readbacks: per("readbacks"),
    bytes: weightBytes,
  };
}

for await (const line of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  for (const request of line.split("\n").filter(Boolean)) {
    console.log(JSON.stringify(await answer(JSON.parse(request))));
  }
}
