/**
 * Answering beside `generate` of transformers: the same random weights, the same prompts, greedy, in turns on one
 * machine.
 *
 *     deno task bench:generate --python PATH [--hidden_size 768 --num_hidden_layers 16] [--use_moe]
 *         [--batches 1,4,16] [--contexts 256,1024,4096] [--pictures 0] [--weights float32,float16,q8] [--tokens 33]
 *         [--rounds 3] [--threads N]
 *
 * Prints Markdown: time to the first token, tokens a second after it, the processor time of both, and how many tokens a
 * second the bytes of weights and cache allow that a token must at least read, at the speed of a plain copy. Tokens in
 * float32 must be those of transformers. The first round, in which kernels are compiled, does not count.
 *
 * With `--use_moe` feed-forward networks are mixtures of experts, and the opponent is transformers' Qwen2-MoE.
 *
 * With `--pictures 1,4` each sequence shows so many besides its text, through a random CLIP ViT-B/16, which are new to both
 * sides; "again" is the time to the first token when the same are shown once more.
 */
import { parseArgs } from "node:util";
import { measureDevice } from "../kernels/measure.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { clipVisionConfig, miniMindConfig, pictureTokens } from "../model/config.ts";
import { Contestant } from "./support/contestant.ts";
import { median } from "./support/statistics.ts";
import { writeModel } from "./support/transformers_folder.ts";

interface Answer {
  first: number;
  rest: number;
  cpu: number;
  ids: number[][];
  dispatches?: number;
  submits?: number;
  readbacks?: number;
  bytes?: number;
}

const { values: given } = parseArgs({
  options: {
    python: { type: "string", default: "python3" },
    torch_device: { type: "string", default: "cpu" },
    torch_dtype: { type: "string", default: "float32" },
    threads: { type: "string", default: `${navigator.hardwareConcurrency}` },
    device: { type: "string", default: "gpu" },
    hidden_size: { type: "string", default: "512" },
    num_hidden_layers: { type: "string", default: "8" },
    use_moe: { type: "boolean", default: false },
    batches: { type: "string", default: "1,4,16" },
    contexts: { type: "string", default: "256,1024,4096" },
    pictures: { type: "string", default: "0" },
    weights: { type: "string", default: "float32,float16,q8" },
    tokens: { type: "string", default: "33" },
    rounds: { type: "string", default: "3" },
  },
});
const numbers = (list: string): number[] => list.split(",").map(Number);
const tokens = Number(given.tokens);
const config = miniMindConfig({
  hidden_size: Number(given.hidden_size),
  num_hidden_layers: Number(given.num_hidden_layers),
  use_moe: given.use_moe,
});
const kvBytes = 8 * config.num_hidden_layers * config.num_key_value_heads * config.hidden_size /
  config.num_attention_heads;

const pictures = numbers(given.pictures);
const vision = pictures.some((count) => count > 0)
  ? clipVisionConfig({ patch_size: 16 })
  : undefined;

const cases = numbers(given.batches).flatMap((batch) =>
  numbers(given.contexts).flatMap((context) => pictures.map((shown) => ({ batch, context, shown })))
);

async function copySpeed(): Promise<number> {
  using gpu = await Gpu.open(given.device);
  return 1e9 * (await measureDevice(gpu)).gigabytes;
}

const folder = await Deno.makeTempDir({ prefix: "glimpse_generate_" });
try {
  await writeModel(folder, config, vision);
  const speed = await copySpeed();
  const file = (path: string) => new URL(path, import.meta.url).pathname;
  const torch = ["--device", given.torch_device, "--dtype", given.torch_dtype];
  const contestants = [
    new Contestant<Answer>("transformers", given.python, [
      ...[file("pytorch/generate.py"), folder, ...torch, "--threads", given.threads],
    ]),
    ...given.weights.split(",").map((kind) =>
      new Contestant<Answer>(`Glimpse, ${kind}`, Deno.execPath(), [
        ...["run", "-A", file("versus/generate.ts"), folder, "--weights", kind],
        ...["--device", given.device, "--theta", `${config.rope_theta}`],
      ])
    ),
  ];
  console.log(`A plain copy moves ${(speed / 1e9).toFixed(1)} GB/s.\n`);
  const head =
    "batch | context | pictures | | first token | again | tokens/s | speed | CPU s | limit | dispatches";
  console.log(`| ${head} |\n|${" --- |".repeat(11)}`);
  let seed = 0;
  for (const { batch, context, shown } of cases) {
    const answers = contestants.map((): Answer[] => []);
    const again = contestants.map((): Answer[] => []);
    for (let round = 0; round <= Number(given.rounds); round++, seed += batch * shown) {
      const request = JSON.stringify({ batch, context, tokens, pictures: shown, seed });
      for (const [i, one] of contestants.entries()) {
        const answer = await one.ask(request);
        const second = shown > 0 ? [await one.ask(request)] : [];
        if (round === 0) continue;
        answers[i]!.push(answer);
        again[i]!.push(...second);
      }
    }
    const seen = vision ? shown * pictureTokens(vision) : 0;
    const rest = answers.map((all) => median(all.map(({ rest }) => rest)));
    const first = (all: Answer[]) =>
      all.length > 0 ? `${(1e3 * median(all.map(({ first }) => first))).toFixed(0)} ms` : "";
    const said = (i: number) => [...answers[i]!, ...again[i]!].map(({ ids }) => ids).join();
    answers.forEach((all, i) => {
      const { bytes = 0, dispatches, submits, readbacks } = all[0]!;
      const { name } = contestants[i]!;
      const read = bytes + batch * (context + seen + tokens / 2) * kvBytes;
      console.log(`| ${
        [
          batch,
          context,
          shown,
          name,
          first(all),
          first(again[i]!),
          (batch * (tokens - 1) / rest[i]!).toFixed(1),
          `${(rest[0]! / rest[i]!).toFixed(2)}×`,
          median(all.map(({ cpu }) => cpu)).toFixed(2),
          bytes > 0 ? (batch * speed / read).toFixed(0) : "",
          dispatches === undefined
            ? ""
            : `${dispatches.toFixed(0)} in ${submits!.toFixed(1)} submits, ${
              readbacks!.toFixed(2)
            } readbacks`,
        ].join(" | ")
      } |`);
      if (name === "Glimpse, float32" && said(i) !== said(0)) {
        console.log(`\nThe tokens of ${name} are not those of transformers.\n`);
      }
    });
  }
  for (const one of contestants) await one.end();
} finally {
  await Deno.remove(folder, { recursive: true });
}
