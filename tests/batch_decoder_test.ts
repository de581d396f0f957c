import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { countTokens, penalizeCounts } from "../kernels/token_counts.ts";
import { BatchDecoder, type DrawnToken, type Sequence } from "../model/batch_decoder.ts";
import { Decoder } from "../model/decoder.ts";
import type { Prompt } from "../model/prompt.ts";
import { Random } from "../model/random.ts";
import type { SequenceOptions } from "../model/sequence.ts";
import { goldenBatch, goldenValues, goldenVlm } from "./support/golden.ts";
import { gpuTest, leakFreeTest } from "./support/gpu.ts";

function greedy(maxNewTokens: number): SequenceOptions {
  return { temperature: 0, stopIds: [], random: new Random(1), maxNewTokens };
}

function text(...ids: number[]): Prompt {
  return { ids: Uint32Array.from(ids), imageRows: new Uint32Array(), pictureCount: 0 };
}

const PROMPTS = [
  text(1, 320, 275),
  text(1, 99),
  text(5, 6, 7, 8, 9, 10, 11, 12),
  text(1, 320, 276, 40, 41),
];

/** Steps until all have ended; the answers. */
async function finish(batch: BatchDecoder, count: number): Promise<Map<Sequence, DrawnToken[]>> {
  const answers = new Map<Sequence, DrawnToken[]>();
  while (batch.running > 0) {
    for (const [sequence, tokens] of await batch.step(count)) {
      answers.set(sequence, [...answers.get(sequence) ?? [], ...tokens]);
    }
  }
  return answers;
}

for (const name of ["dense", "moe"] as const) {
  gpuTest(
    `${name}: answers of a batch that is joined and left are the answers alone`,
    async (gpu) => {
      const before = gpu.memory.live;
      {
        using vlm = await goldenVlm(gpu, name);
        const alone: number[][] = [];
        for (const prompt of PROMPTS) {
          using decoder = new Decoder(vlm, 40);
          decoder.read(prompt);
          alone.push(await Array.fromAsync(decoder.generate(greedy(20))));
        }
        using batch = new BatchDecoder(vlm, 3, 40);
        const joined: Sequence[] = [];
        const join = (i: number) => joined[i] = batch.join(PROMPTS[i]!, [], greedy(20));
        join(0);
        await batch.step(1);
        await batch.step(3);
        join(1);
        const left = batch.join(PROMPTS[3]!, [], greedy(20));
        assertThrows(() => batch.join(PROMPTS[3]!, [], greedy(20)), ShapeError, "places");
        await batch.step(1);
        await batch.step(5);
        batch.leave(left);
        join(2);
        await finish(batch, 4);
        join(3);
        await finish(batch, 7);
        assertEquals(joined.map(({ answer }) => [...answer]), alone);
        assertEquals(left.finish, undefined);
        assertEquals([...left.answer], alone[3]!.slice(0, left.answer.length));
      }
      assertEquals(gpu.memory.live, before, "bytes left in use");
    },
  );
}

leakFreeTest("the next tokens are begun while the last are on their way", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  using decoder = new Decoder(vlm, 40);
  decoder.read(PROMPTS[0]!);
  const alone = await Array.fromAsync(decoder.generate(greedy(12)));
  using batch = new BatchDecoder(vlm, 2, 40);
  const sequence = batch.join(PROMPTS[0]!, [], greedy(12));
  const made: number[] = [], dispatches: number[] = [];
  while (batch.running > 0) {
    const start = gpu.counts.dispatches;
    const [[, tokens]] = await batch.step(3) as [[Sequence, DrawnToken[]]];
    made.push(tokens.length);
    dispatches.push(gpu.counts.dispatches - start);
  }
  assertEquals(sequence.answer, alone);
  assertEquals(made, [1, 3, 3, 3, 2]);
  assertEquals(dispatches[1], 2 * dispatches[2]!, "the third three begin in the second step");
  assertEquals(dispatches[4], 0, "the last two were begun before");
  batch.join(PROMPTS[1]!, [], greedy(12));
  await batch.step(1);
  await batch.step(2); // is disposed of with two tokens under way
});

leakFreeTest(
  "pictures are seen, kept as long as needed, and told apart by their keys",
  async (gpu) => {
    using vlm = await goldenVlm(gpu, "dense");
    const expected = await goldenValues("dense");
    const golden = goldenBatch(expected);
    const wanted = Array.from(expected.get("greedy")!);
    const pixels = (row: number) => {
      const size = 3 * 224 * 224;
      const data = expected.get("pixel_values")!.slice(row * size, (row + 1) * size);
      using scope = gpu.scope();
      const x = gpu.tensor(data, [1, 3, 224, 224]);
      return scope.release(vlm.dropClassTokens(vlm.vision.forward(x)));
    };
    const prompt: Prompt = {
      ids: golden.ids.slice(0, 210),
      imageRows: golden.imageRows.filter((row) => row < 210),
      pictureCount: 1,
    };
    using batch = new BatchDecoder(vlm, 2, 260);
    const ask = async (key: string, features: ReturnType<typeof pixels>) => {
      const options = { ...greedy(wanted.length), topLogprobs: 0 };
      const sequence = batch.join(prompt, [{ key, features }], options);
      features.dispose();
      const [{ logprob } = {}] = (await finish(batch, 16)).get(sequence)!;
      return { answer: [...sequence.answer], cachedTokens: sequence.cachedTokens, logprob };
    };
    const first = await ask("a", pixels(0));
    assertEquals(first.answer, wanted);
    assertEquals(first.cachedTokens, 0);
    const again = await ask("a", pixels(0));
    assertEquals(again.answer, wanted);
    assertEquals(again.cachedTokens, 209);
    const other = await ask("b", pixels(1));
    assertEquals(other.cachedTokens, prompt.imageRows[0]);
    assertAlmostEquals(again.logprob!, first.logprob!, 1e-5);
    assert(Math.abs(other.logprob! - first.logprob!) > 1e-4, "the other picture was not seen");
    batch.join(prompt, [{ key: "a", features: gpu.zeros([196, 48]) }], greedy(5)).pictures[0]!
      .features.dispose();
  },
);

gpuTest("a conversation that goes on is read only where it is new", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  using batch = new BatchDecoder(vlm, 2, 60);
  const first = batch.join(PROMPTS[0]!, [], greedy(5));
  await finish(batch, 8);
  const next = text(...first.ids, 50, 51);
  const second = batch.join(next, [], greedy(6));
  // the last token of the answer was drawn but never read
  assertEquals(second.cachedTokens, first.ids.length - 1);
  await finish(batch, 4);
  using decoder = new Decoder(vlm, 60);
  decoder.read(next);
  assertEquals([...second.answer], await Array.fromAsync(decoder.generate(greedy(6))));
});

gpuTest("memory is shared by pages, and idle places give theirs away", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  // four places, but memory for two long sequences only: 8 pages
  using batch = new BatchDecoder(vlm, 4, 256, 512);
  const prompt = (first: number, length: number) =>
    text(...Array.from({ length }, (_, i) => first + i));
  const alone: number[][] = [];
  const asked: [first: number, length: number][] = [[3, 100], [500, 150], [900, 20], [40, 120]];
  for (const [first, length] of asked) {
    using decoder = new Decoder(vlm, 256);
    decoder.read(prompt(first, length));
    alone.push(await Array.fromAsync(decoder.generate(greedy(90))));
  }
  const join = (i: number) => batch.join(prompt(...asked[i]!), [], greedy(90));
  const [a, b] = [join(0), join(1)];
  const one = (tokens: number) => ({ prompt: prompt(3, 20), options: greedy(tokens) });
  assertEquals([one(44), one(90)].map((each) => batch.hasRoom([each])), [true, false]);
  assertEquals([[one(44)], [one(44), one(44)]].map((each) => batch.hasRoom(each)), [true, false]);
  assertThrows(() => join(2), ShapeError, "memory");
  assertEquals(batch.free, 2);
  await batch.step(1);
  await batch.step(8);
  batch.leave(a);
  const third = join(2);
  await finish(batch, 16);
  // the first prompt again: its pages were taken, or not, and the answer is the same
  const fourth = join(3);
  const again = join(0);
  await finish(batch, 5);
  assertEquals([again, b, third, fourth].map(({ answer }) => [...answer]), alone);
});

gpuTest("each sequence has its own seed, stops and length", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  using batch = new BatchDecoder(vlm, 4, 30);
  const chance = (seed: number): SequenceOptions => ({
    ...greedy(12),
    temperature: 1,
    topK: 50,
    random: new Random(seed),
  });
  const alone = batch.join(PROMPTS[0]!, [], chance(7));
  await finish(batch, 1);
  const [a, b, stopped, full] = [
    batch.join(PROMPTS[0]!, [], chance(7)),
    batch.join(PROMPTS[0]!, [], chance(8)),
    batch.join(PROMPTS[0]!, [], { ...chance(7), stopIds: [alone.answer[4]!] }),
    batch.join(text(...Array.from({ length: 25 }, (_, i) => i + 3)), [], greedy(100)),
  ] as const;
  await finish(batch, 16);
  assertEquals(a.answer, alone.answer);
  assertEquals(a.finish, "length");
  assert(b.answer.join() !== a.answer.join());
  assertEquals(
    [...stopped.answer],
    alone.answer.slice(0, alone.answer.indexOf(alone.answer[4]!) + 1),
  );
  assertEquals(stopped.finish, "stop");
  assertEquals([full.answer.length, full.finish], [5, "length"]);
  assertThrows(() => batch.join(text(...Array(30).fill(3)), [], greedy(1)), ShapeError, "29");
});

gpuTest("penalties keep an answer from repeating itself, in its own row only", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  using batch = new BatchDecoder(vlm, 2, 60);
  const plain = batch.join(PROMPTS[0]!, [], greedy(30));
  const varied = batch.join(PROMPTS[0]!, [], { ...greedy(30), presencePenalty: 1e4 });
  await finish(batch, 16);
  assertEquals(new Set(varied.answer).size, 30);
  const frequent = batch.join(PROMPTS[0]!, [], { ...greedy(30), frequencyPenalty: 1e4 });
  const without = batch.join(PROMPTS[0]!, [], greedy(30));
  await finish(batch, 3);
  assertEquals(new Set(frequent.answer).size, 30);
  assertEquals(without.answer, plain.answer);
  assert(new Set(plain.answer).size < 30, "the model does not repeat itself anyway");
});

gpuTest("probabilities are those of the model", async (gpu) => {
  using vlm = await goldenVlm(gpu, "dense");
  using batch = new BatchDecoder(vlm, 2, 60);
  const told = batch.join(PROMPTS[0]!, [], { ...greedy(6), topLogprobs: 3 });
  const silent = batch.join(PROMPTS[1]!, [], greedy(6));
  const answers = await finish(batch, 4);
  for (const { id, logprob, top } of answers.get(told)!) {
    assertEquals(top!.length, 3);
    assertEquals(top![0], { id, logprob: logprob! });
    assert(top![0]!.logprob >= top![1]!.logprob && top![1]!.logprob >= top![2]!.logprob);
  }
  assert(answers.get(silent)!.every(({ logprob }) => logprob === undefined));
  const all = batch.join(PROMPTS[2]!, [], { ...greedy(1), topLogprobs: 6400 });
  const [first] = (await finish(batch, 1)).get(all)!;
  const sum = first!.top!.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0);
  assertAlmostEquals(sum, 1, 1e-5);
});

async function penalised(gpu: Gpu): Promise<number[]> {
  using _scope = gpu.scope();
  const logits = gpu.tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
  const counts = gpu.tensor(Uint32Array.of(0, 1, 3, 0, 0, 0), [2, 3]);
  countTokens(counts, gpu.tensor(Uint32Array.of(2, 0), [2]));
  const y = penalizeCounts(logits, counts, gpu.tensor(Float32Array.of(0.5, 2, 10, 0), [2, 2]));
  assertThrows(() => countTokens(counts, gpu.zeros([3], "uint32")), ShapeError);
  assertThrows(() => penalizeCounts(logits, counts, gpu.zeros([3])), ShapeError);
  return [...await gpu.read(y)];
}

gpuTest("penalties count tokens and presence", async (gpu) => {
  assertEquals(await penalised(gpu), [1, -0.5, -5.5, -6, 5, 6]);
});
