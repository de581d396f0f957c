/**
 * Glimpse's side of `generate.ts`: loads a folder's weights and answers each line {"batch", "context", "tokens", "pictures",
 * "seed"} with its times.
 */
import process from "node:process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DISK } from "../../data/disk.ts";
import { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Precision } from "../../kernels/runtime/precision.ts";
import { BatchDecoder } from "../../model/batch_decoder.ts";
import { ImageProcessor } from "../../model/image_processor.ts";
import { readVlm } from "../../model/load_vlm.ts";
import { Random } from "../../model/random.ts";
import { ENGINE_DEFAULTS } from "../../serve/engine.ts";
import { PictureStore } from "../../serve/picture_store.ts";
import { drawnPicture } from "../support/drawn_picture.ts";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "gpu" },
    weights: { type: "string", default: "float32" },
    theta: { type: "string", default: "1e6" },
  },
});
const q8 = given.weights === "q8";
const folder = positionals[0]!;
const vision = join(folder, "vision");
const processor = new ImageProcessor();
using gpu = await Gpu.open(given.device);
const { vlm } = await readVlm(DISK, gpu, {
  weights: folder,
  vision: await DISK.read(join(vision, "config.json")) && vision,
  normalization: { imageMean: processor.mean, imageStd: processor.std },
  language: { rope_theta: Number(given.theta) },
  precision: q8 ? "float32" : given.weights as Precision,
  quantization: q8 ? "q8" : undefined,
  random: new Random(0),
});

using store = new PictureStore({ vlm, processor }, ENGINE_DEFAULTS);

/** Bytes of weights that a token of each of some sequences reads: of the experts those that one of them chooses. */
function weightBytes(sequences: number): number {
  const { num_experts_per_tok: chosen, n_routed_experts: all } = vlm.config.language;
  return vlm.parameters.specs.filter(({ name }) => name.startsWith("model."))
    .map(({ name }) => {
      const part = name.includes(".experts.") ? 1 - (1 - chosen / all) ** sequences : 1;
      return part * vlm.parameters.get(name).bytes;
    })
    .reduce((a, b) => a + b);
}

/** Tokens of text before the pictures, and what stands for a token of a picture. */
const START = 10, PLACEHOLDER = 34;

interface Request {
  batch: number;
  context: number;
  tokens: number;
  pictures: number;
  seed: number;
}

async function answer({ batch, context, tokens, pictures, seed }: Request) {
  const seen = pictures * vlm.tokensPerPicture;
  using decoder = new BatchDecoder(vlm, batch, context + seen + tokens);
  const shown = Array.from(
    { length: batch * pictures },
    (_, i) => drawnPicture(seed + i, processor.size),
  );
  const start = performance.now(), cpu = process.cpuUsage();
  const sequences = Array.from({ length: batch }, (_, row) => {
    const text = Array.from({ length: context }, (_, i) => 100 + (i * 7919 + row * 104729) % 6300);
    const imageRows = Uint32Array.from({ length: seen }, (_, i) => START + i);
    const ids = Uint32Array.from(text.toSpliced(START, 0, ...Array(seen).fill(PLACEHOLDER)));
    const prompt = { ids, imageRows, pictureCount: pictures };
    const random = new Random(0);
    const options = { maxNewTokens: tokens, temperature: 0, stopIds: [], random };
    using own = new DisposableStack();
    const mine = shown.slice(row * pictures, (row + 1) * pictures);
    const features = store.see(mine)
      .map((features, i) => ({ key: mine[i]!.key, features: own.use(features) }));
    return decoder.join(prompt, features, options);
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
    bytes: weightBytes(batch),
  };
}

for await (const line of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  for (const request of line.split("\n").filter(Boolean)) {
    console.log(JSON.stringify(await answer(JSON.parse(request))));
  }
}
