import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { drawnPicture as drawn } from "../bench/support/drawn_picture.ts";
import { DataError, OutOfMemoryError, ShapeError } from "../kernels/runtime/errors.ts";
import type { ChatModel } from "../data/vlm_folder.ts";
import type { DrawnToken } from "../model/batch_decoder.ts";
import { PICTURE } from "../model/prompt.ts";
import { Answer, type Finish } from "../serve/answer.ts";
import { ContextLengthError, Engine, type Question, QueueFullError } from "../serve/engine.ts";
import { Lru } from "../serve/lru.ts";
import { type Picture, PictureStore } from "../serve/picture_store.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { gpuTest, leakFreeTest } from "./support/gpu.ts";
import { memoryLimit } from "./support/memory_limit.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";
import { PICTURES } from "./support/vlm_data.ts";

function question(text: string, more: Partial<Question> = {}): Question {
  return {
    turns: [{ role: "user", content: [text] }],
    pictures: [],
    maxNewTokens: 12,
    temperature: 0,
    ...more,
  };
}

const drawnPicture = (number: number): Picture => drawn(number, 32);

/** A question that shows drawn pictures. */
function shown(numbers: readonly number[], more: Partial<Question> = {}): Question {
  const content = [...numbers.map(() => PICTURE), "?"];
  const pictures = numbers.map(drawnPicture);
  return question("", { turns: [{ role: "user", content }], pictures, ...more });
}

async function textOf(answer: Answer): Promise<string> {
  return (await Array.fromAsync(answer)).map(({ text }) => text).join("");
}

leakFreeTest(
  "questions beyond the places wait, and all get the answers that they get alone",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    await using engine = new Engine(model, { slots: 3, capacity: 120, queue: 20 });
    const texts = ["a", "What?", "Describe it.", "x".repeat(30), "仔细", "b", "c", "d"];
    const alone: string[] = [];
    for (const text of texts) alone.push(await textOf(engine.ask(question(text))));
    const answers = texts.map((text) => engine.ask(question(text)));
    await Promise.resolve();
    assertEquals(await Promise.all(answers.map(textOf)), alone);
    assert(answers.every(({ finish }) => finish === "length" || finish === "stop"));
    assertEquals([engine.running, engine.waiting], [0, 0]);
  },
);

leakFreeTest("pictures are seen, remembered, and refused", async (gpu) => {
  using model = tinyChatModel(gpu);
  await using engine = new Engine(model, { slots: 2, capacity: 120, maxPixels: 230 * 230 });
  const file = async (name: string) =>
    await engine.pictures.prepare(await Deno.readFile(join(PICTURES, name)));
  const square = await file("square.png");
  assertEquals(await file("square.png"), square);
  const twice = shown([0, 0], { pictures: [square, square], topLogprobs: 0 });
  const first = await Array.fromAsync(engine.ask(twice));
  const live = gpu.memory.live;
  const again = engine.ask(twice);
  assertEquals(
    (await Array.fromAsync(again)).flatMap(({ tokens }) => tokens.map(({ id }) => id)),
    first.flatMap(({ tokens }) => tokens.map(({ id }) => id)),
  );
  assertEquals(again.cachedTokens, again.promptTokens - 1);
  assertEquals(gpu.memory.live, live);
  await assertRejects(() => engine.pictures.prepare(new Uint8Array(10)), DataError);
  await assertRejects(() => engine.pictures.prepare(new Uint8Array(10)), DataError);
  await assertRejects(() => file("landscape.png"), DataError, "at most 52900");
});

leakFreeTest(
  "new pictures are encoded together, each once, to the bits that it has alone",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    const options = { maxPixels: 1, pictureBytes: 2 * 4 * 4 * 32 }; // features of two pictures
    const pictures = Array.from({ length: 20 }, (_, i) => drawnPicture(i));
    const alone: Float32Array[] = [];
    for (const { pixels } of pictures) {
      using features = model.vlm.encodePictures(new Uint8Array(pixels), 1);
      alone.push(await gpu.read(features));
    }
    using store = new PictureStore(model, options);
    const counts = encodings(model);
    const check = async (shown: readonly number[]) => {
      for (const [i, features] of store.see(shown.map((i) => pictures[i]!)).entries()) {
        assertEquals(await gpu.read(features), alone[shown[i]!]);
        features.dispose();
      }
    };
    await check([0, 1, 1]);
    await check([1, 2, 2, 0]);
    await check(pictures.keys().toArray());
    assertEquals(counts, [2, 1, 16, 2]);
  },
);

gpuTest(
  "a picture for which there is no memory fails the answer, and nothing of it is kept",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    await using engine = new Engine(model, { slots: 2, capacity: 120 });
    const before = gpu.memory.live;
    const [small, large] = [1, 2].map(drawnPicture);
    engine.pictures.see([small!]).forEach((features) => features.dispose());
    const encode = model.vlm.encodePictures.bind(model.vlm);
    model.vlm.encodePictures = (...pictures) => {
      encode(...pictures);
      throw new OutOfMemoryError("no memory");
    };
    const turns = [{ role: "user" as const, content: [PICTURE, PICTURE, "?"] }];
    await assertRejects(
      () => textOf(engine.ask(question("", { turns, pictures: [small!, large!] }))),
      OutOfMemoryError,
      "no memory",
    );
    engine.pictures[Symbol.dispose]();
    assertEquals(gpu.memory.live, before, "bytes left in use");
  },
);

/** Notes how many pictures are encoded at a time. */
function encodings({ vlm }: ChatModel): number[] {
  const counts: number[] = [];
  const encode = vlm.encodePictures.bind(vlm);
  vlm.encodePictures = (bytes, count) => (counts.push(count), encode(bytes, count));
  return counts;
}

leakFreeTest(
  "new pictures of questions that come together are encoded together, a few at a time",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    const options = { slots: 6, capacity: 120, pictureBytes: 0 }; // nothing is kept
    await using engine = new Engine(model, options);
    const asked = [[1], [2, 3], [3], [4, 5], [], [1, 2, 3, 4, 5, 6], [7]];
    const ask = async (numbers: readonly number[]) => {
      const pieces = await Array.fromAsync(engine.ask(shown(numbers, { topLogprobs: 0 })));
      return pieces.flatMap(({ tokens }) => tokens);
    };
    const alone: (readonly DrawnToken[])[] = [];
    for (const numbers of asked) alone.push(await ask(numbers));
    const counts = encodings(model);
    const together = await Promise.all(asked.map(ask));
    const idsOf = (tokens: readonly DrawnToken[]) => tokens.map(({ id }) => id);
    assertEquals(together.map(idsOf), alone.map(idsOf));
    const sureness = (tokens: readonly DrawnToken[]) => tokens[0]!.logprob!;
    together.forEach((tokens, i) => {
      const apart = alone.map((other) => Math.abs(sureness(other) - sureness(tokens)));
      assert(apart[i]! < 1e-5);
      assertEquals(apart.indexOf(Math.min(...apart)), i, "of the answers alone that to the same");
    });
    assertEquals(counts, [3, 2, 6, 1]);
  },
);

gpuTest("a first token goes out before the next pictures are encoded", async (gpu) => {
  using model = tinyChatModel(gpu);
  await using engine = new Engine(model, { slots: 8, capacity: 120 });
  const counts = encodings(model);
  const [first] = Array.from({ length: 8 }, (_, i) => engine.ask(shown([i], { topLogprobs: 0 })));
  await first![Symbol.asyncIterator]().next();
  assertEquals(counts, [4]);
});

leakFreeTest(
  "of questions whose pictures are encoded together one may be broken or leave",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    await using engine = new Engine(model, { slots: 4, capacity: 120, pictureBytes: 0 });
    const alone = await textOf(engine.ask(shown([3])));
    const counts = encodings(model);
    const broken = { key: "broken", pixels: new Uint8Array(8) };
    const [first, second, third, fourth] = [
      engine.ask(shown([1])),
      engine.ask(shown([2], { pictures: [broken] })),
      engine.ask(shown([3])),
      engine.ask(shown([4], { maxNewTokens: 80 })),
    ] as const;
    first.cancel(); // before it has joined
    const started = fourth[Symbol.asyncIterator]();
    await Promise.all([
      assertRejects(() => textOf(second), ShapeError),
      started.next().then(() => started.return()),
      textOf(third).then((text) => assertEquals(text, alone)),
    ]);
    assertEquals(counts, [3, 1, 1, 1]); // together, and as that failed, each alone
    await engine.drain();
    assertEquals([engine.running, engine.waiting, engine.fault], [0, 0, undefined]);
    assertEquals(await textOf(engine.ask(shown([3]))), alone);
  },
);

leakFreeTest(
  "of questions whose pictures are encoded together those for which memory lacks fail, and no others",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    await using engine = new Engine(model, { slots: 4, capacity: 120, pictureBytes: 0 });
    const few = await textOf(engine.ask(shown([1])));
    const encode = model.vlm.encodePictures.bind(model.vlm);
    model.vlm.encodePictures = (bytes, count) => {
      const features = encode(bytes, count);
      if (count === 1) return features;
      throw new OutOfMemoryError("no memory");
    };
    const running = engine.ask(question("a", { maxNewTokens: 60 }));
    await running[Symbol.asyncIterator]().next();
    const [first, second, third] = [[1], [2, 3], [1]].map((numbers) => engine.ask(shown(numbers)));
    await assertRejects(() => textOf(second!), OutOfMemoryError);
    assertEquals([await textOf(first!), await textOf(third!)], [few, few]);
  },
);

leakFreeTest(
  "of prompts that are read together the longest fails for which memory lacks",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    await using engine = new Engine(model, { slots: 4, capacity: 400 });
    const short = [shown([1]), question("a", { maxNewTokens: 3 }), question("b")];
    const ask = (asked: readonly Question[]) =>
      Promise.all(asked.map((one) => textOf(engine.ask(one)).catch((error) => error.name)));
    gpu.resetPeak();
    const alone = await ask(short);
    using _limit = memoryLimit(gpu, gpu.memory.peak);
    const [first, ...rest] = short;
    const long = question("x".repeat(300));
    assertEquals(await ask([first!, long, ...rest]), alone.toSpliced(1, 0, "OutOfMemoryError"));
  },
);

leakFreeTest(
  "wherever memory lacks, nobody waits for ever, and the engine goes on",
  async (gpu) => {
    using model = tinyChatModel(gpu);
    await using engine = new Engine(model, { slots: 3, capacity: 120, pictureBytes: 0 });
    const asked = [shown([1]), shown([2, 3]), question("x".repeat(20)), shown([4])];
    const alone: string[] = [];
    for (const one of asked) alone.push(await textOf(engine.ask(one)));
    const { live } = gpu.memory;
    gpu.resetPeak();
    await Promise.all(asked.map((one) => textOf(engine.ask(one))));
    const most = gpu.memory.peak - live;
    const fates = new Set<string>();
    for (let share = 0; share < 1; share += 1 / 24) {
      {
        using _limit = memoryLimit(gpu, live + share * most);
        const answers = asked.map((one) => engine.ask(one));
        for (const [i, result] of (await Promise.allSettled(answers.map(textOf))).entries()) {
          if (result.status === "fulfilled") assertEquals(result.value, alone[i]);
          else assert(result.reason instanceof OutOfMemoryError, `${result.reason}`);
          fates.add(`${i} ${result.status}`);
        }
      }
      await engine.drain();
      assertEquals([engine.running, engine.waiting, engine.fault], [0, 0, undefined]);
      assertEquals(gpu.memory.live, live, "bytes left in use");
      assertEquals(await textOf(engine.ask(asked[0]!)), alone[0]);
    }
    assertEquals(
      fates.size,
      2 * asked.length,
      "each was answered with some memory, and not with less",
    );
  },
);

gpuTest("who leaves gives the place to who waits", async (gpu) => {
  using model = tinyChatModel(gpu);
  await using engine = new Engine(model, { slots: 1, capacity: 400, queue: 2 });
  const long = engine.ask(question("a", { maxNewTokens: 300 }));
  const iterator = long[Symbol.asyncIterator]();
  await iterator.next();
  const [second, third] = [engine.ask(question("b")), engine.ask(question("c"))];
  assertThrows(() => engine.ask(question("d")), QueueFullError);
  second.cancel();
  await iterator.return();
  assertEquals(long.finish, "cancelled");
  assert(long.completionTokens < 300);
  assert((await textOf(third)).length > 0);
  assertEquals(await textOf(second), "");
  assertEquals(second.finish, "cancelled");
  await engine.drain();
  assertEquals([engine.running, engine.waiting], [0, 0]);
});

gpuTest("a conversation that is too long is refused, however long it is", async (gpu) => {
  using model = tinyChatModel(gpu);
  await using engine = new Engine(model, { slots: 1, capacity: 100 });
  assertThrows(() => engine.ask(question("x".repeat(50))), ContextLengthError, "room for 100");
  assertThrows(() => engine.ask(question("x".repeat(1e7))), ContextLengthError, "at least");
  const answer = engine.ask(question("x", { maxNewTokens: 1000 }));
  await textOf(answer);
  assertEquals(answer.promptTokens + answer.completionTokens, 100);
});

gpuTest("seeds repeat an answer", async (gpu) => {
  using model = tinyChatModel(gpu);
  await using engine = new Engine(model, { slots: 3, capacity: 120 });
  const ask = (seed?: number) =>
    textOf(engine.ask(question("a", { temperature: 1.5, ...(seed !== undefined && { seed }) })));
  const [a, b, c, ...drawn] = await Promise.all([5, 5, 6, ...Array(6)].map(ask));
  assertEquals(a, b);
  assert(a !== c && new Set(drawn).size > 1, `${c}, ${drawn}`); // one alone may end at once
});

const bytes = new Tokenizer(byteTokenizer().tokenizer, byteTokenizer().config);

/** What is given out for a text that comes byte by byte. */
async function given(text: string, stop: string[]): Promise<[string[], Finish | undefined]> {
  const answer = new Answer(bytes, { promptTokens: 1, stop, cancelled: () => {} });
  for (const id of bytes.encode(text)) answer.push([{ id }]);
  answer.end("length");
  const pieces = await Array.fromAsync(answer);
  return [pieces.map(({ text }) => text), answer.finish];
}

Deno.test("a stop text ends an answer, and nothing of it is given out", async () => {
  assertEquals(await given("ab🙂", []), [["a", "b", "🙂"], "length"]);
  assertEquals(await given("one END two", ["END"]), [["o", "n", "e", " ", ""], "stop"]);
  assertEquals((await given("EN EEND", ["END", "zz"]))[0].join(""), "EN E");
  assertEquals((await given("EN E", ["END"]))[0].join(""), "EN E");
  assertEquals((await given("abcabd", ["abd", "bd"]))[0].join(""), "abc");
});

Deno.test("an error comes to who reads, after what was there", async () => {
  const answer = new Answer(bytes, { promptTokens: 1, stop: [], cancelled: () => {} });
  answer.push([{ id: 68 }, { id: 2 }]);
  answer.fail(new DataError("x"));
  const seen: string[] = [];
  await assertRejects(async () => {
    for await (const { text } of answer) seen.push(text);
  }, DataError);
  assertEquals(seen.join("").length, 1);
});

Deno.test("what was used longest ago goes first", () => {
  const gone: string[] = [];
  const lru = new Lru<string>(6, (value) => value.length, (value) => gone.push(value));
  lru.set("a", "aaa");
  lru.set("b", "bb");
  assertEquals(lru.get("a"), "aaa");
  lru.set("c", "cc");
  assertEquals(gone, ["bb"]);
  lru.set("d", "ddddddd");
  assertEquals([lru.size, gone.length], [0, 4]);
  assertEquals([lru.get("d"), lru.delete("d")], [undefined, false]);
});
