/**
 * Questions of several clients at once: when their first tokens come, and how many tokens and answers there are a second.
 *
 *     deno task bench:serve [--clients 8] [--requests 8] [--pictures 1] [--context 64] [--max_tokens 32] [--slots 8]
 *         [--weights float32,float16,q8] [--hidden_size 512 --num_hidden_layers 8] [--rounds 1] [--device gpu]
 *
 * Prints Markdown. A client asks its next question when the one before is answered, until there were `--requests` (as many
 * as clients unless given: all come at once). Each shows so many new pictures, through a random CLIP ViT-B/16, besides so
 * many tokens of text; answers are greedy. What is asked is the engine of `deno task serve`, in this process: HTTP and the
 * decoding of files are left out.
 *
 * "first" is the time from a question to the first of its answer: the shortest, the median, that of 95 of 100, and the
 * longest; "next" is the median time of a token after it. Answers and tokens a second are those of all clients. The first round, in which
 * kernels are compiled, does not count.
 */
import { parseArgs } from "node:util";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { PICTURE } from "../model/prompt.ts";
import { Engine } from "../serve/engine.ts";
import { drawnPicture } from "./support/drawn_picture.ts";
import { randomChatModel } from "./support/random_chat_model.ts";
import { median, quantile } from "./support/statistics.ts";

interface Answered {
  readonly first: number;
  readonly rest: number;
  readonly tokens: number;
}

const { values: given } = parseArgs({
  options: {
    device: { type: "string", default: "gpu" },
    hidden_size: { type: "string", default: "512" },
    num_hidden_layers: { type: "string", default: "8" },
    weights: { type: "string", default: "float32,float16,q8" },
    clients: { type: "string", default: "8" },
    requests: { type: "string" },
    pictures: { type: "string", default: "1" },
    context: { type: "string", default: "64" },
    max_tokens: { type: "string", default: "32" },
    slots: { type: "string", default: "8" },
    rounds: { type: "string", default: "1" },
  },
});
const clients = Number(given.clients), requests = Number(given.requests ?? clients);
const shown = Number(given.pictures);

let asked = 0;

/** Asks what nobody has asked before, and reads the answer. */
async function ask(engine: Engine): Promise<Answered> {
  const { size } = engine.model.processor;
  const number = asked++;
  const pictures = Array.from({ length: shown }, (_, i) => drawnPicture(number * shown + i, size));
  const text = `${number}`.padEnd(Number(given.context)); // a space is a token
  const start = performance.now();
  const answer = engine.ask({
    turns: [{ role: "user", content: [...pictures.map(() => PICTURE), text] }],
    pictures,
    maxNewTokens: Number(given.max_tokens),
    temperature: 0,
  });
  let first = 0;
  for await (const _ of answer) first ||= performance.now() - start;
  const end = performance.now() - start;
  return { first: first || end, rest: end - (first || end), tokens: answer.completionTokens };
}

/** Lets all clients ask, and gives the seconds that this took. */
async function round(engine: Engine, answered: Answered[]): Promise<number> {
  const start = performance.now();
  let left = requests;
  await Promise.all(Array.from({ length: clients }, async () => {
    while (left-- > 0) answered.push(await ask(engine));
  }));
  return (performance.now() - start) / 1000;
}

using gpu = await Gpu.open(given.device);
console.log(
  `${gpu.info.name}: ${clients} clients ask ${requests} questions with ${shown} new pictures each.\n`,
);
console.log("| | first: shortest | median | 95% | longest | next | answers/s | tokens/s |");
console.log(`|${" --- |".repeat(8)}`);
for (const weights of given.weights.split(",")) {
  const layers = Number(given.num_hidden_layers);
  using model = randomChatModel(gpu, { hiddenSize: Number(given.hidden_size), layers }, weights);
  await using engine = new Engine(model, { slots: Number(given.slots), queue: clients });
  await round(engine, []);
  const answered: Answered[] = [];
  let seconds = 0;
  for (let i = 0; i < Number(given.rounds); i++) seconds += await round(engine, answered);
  const first = answered.map(({ first }) => first);
  const next = answered.filter(({ tokens }) => tokens > 1)
    .map(({ rest, tokens }) => rest / (tokens - 1));
  const tokens = answered.reduce((sum, { tokens }) => sum + tokens, 0);
  const ms = [0, 0.5, 0.95, 1].map((share) => quantile(first, share));
  console.log(`| ${
    [
      weights,
      ...ms.map((value) => `${value.toFixed(0)} ms`),
      next.length > 0 ? `${median(next).toFixed(1)} ms` : "",
      (answered.length / seconds).toFixed(2),
      (tokens / seconds).toFixed(1),
    ].join(" | ")
  } |`);
}
