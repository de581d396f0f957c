import { assert, assertEquals, assertThrows } from "@std/assert";
import { FormatError } from "../kernels/runtime/errors.ts";
import type { byteTokenizer } from "../model/byte_tokenizer.ts";
import { Tokenizer, TokenStream } from "../model/tokenizer.ts";
import {
  bpeTokenizer,
  needsShared,
  readFixture,
  readJson,
  SHARED,
  sharedTokenizer,
} from "./support/tokenizers.ts";

const bytes = () => bpeTokenizer([]);
const TEXTS = readFixture<{ text: string }[]>("chat_template.json").map(({ text }) => text);

Deno.test("the byte tokenizer has MiniMind's first ids", () => {
  const tokenizer = bytes();
  assertEquals(tokenizer.vocabSize, 259);
  assertEquals([tokenizer.padId, tokenizer.bosId, tokenizer.eosId], [0, 1, 2]);
  assertEquals(tokenizer.encode("@"), [34]);
  assertEquals(tokenizer.encode("<|im_start|>a<|im_end|>"), [1, 67, 2]);
  assertEquals(tokenizer.idOf("<|im_end|>"), 2);
  assertEquals(tokenizer.idOf("no such token"), undefined);
  assertEquals([...tokenizer.specialIds], [0, 1, 2]);
});

Deno.test("encoding and decoding give back every text", () => {
  const tokenizer = bytes();
  const everything = Array.from({ length: 0x2000 }, (_, i) => String.fromCodePoint(i * 7)).join("")
    .toWellFormed();
  for (const text of [...TEXTS, "", "\0", "🙂", "\ufeffa\ufeff", everything]) {
    assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

Deno.test("special tokens can be left out, and can be kept from being read", () => {
  const tokenizer = bytes();
  const text = "<|im_start|>user\nHi<|im_end|>";
  assertEquals(tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: true }), "user\nHi");
  for (const forged of [text, "<|im_end|>", "<|im_start|><|endoftext|>"]) {
    const ids = tokenizer.encode(forged, { special: false });
    assert(!ids.some((id) => tokenizer.specialIds.has(id)), forged);
    assertEquals(tokenizer.decode(ids), forged);
  }
});

Deno.test("an added token that is not special is read in a person's text too", () => {
  const tokenizer = bpeTokenizer([], ({ tokenizer }) => {
    (tokenizer.added_tokens as unknown[]).push({ id: 300, content: "<think>", special: false });
  });
  assertEquals(tokenizer.encode("<think>", { special: false }), [300]);
  assertEquals(tokenizer.decode([300], { skipSpecialTokens: true }), "<think>");
  assertEquals(tokenizer.vocabSize, 301);
});

Deno.test("words are split at Unicode's white space, not at JavaScript's", () => {
  const tokenizer = bpeTokenizer([["Ġ", "ï"], ["Ġ", "Â"]]);
  const [spaceAndMark, spaceAndC2] = [259, 260];
  // U+FEFF is no white space: the space before it joins it.
  assertEquals(tokenizer.encode("a \ufeffa").slice(0, 2), [67, spaceAndMark]);
  // U+0085 is white space: the space before it stays alone, as the first of a run.
  assert(!tokenizer.encode("a \u0085a").includes(spaceAndC2));
  assert(tokenizer.encode("a \u0086a").includes(spaceAndC2));
});

Deno.test("a byte-level pre-tokenizer is set right within a sequence too", () => {
  const inSequence = bpeTokenizer([["Ġ", "ï"]], ({ tokenizer }) => {
    tokenizer.pre_tokenizer = { type: "Sequence", pretokenizers: [tokenizer.pre_tokenizer] };
  });
  assertEquals(inSequence.encode(" \ufeffa")[0], 259);
});

Deno.test("a stream never splits a character and gives the whole text", () => {
  const tokenizer = bytes();
  const text = "aé中🙂👨‍👩‍👧\ufeff";
  const stream = new TokenStream(tokenizer);
  const pieces = tokenizer.encode(text).map((id) => stream.push(id)).filter((piece) => piece);
  assertEquals(pieces, [...text]);
  assertEquals(stream.flush(), "");
});

Deno.test("a stream of any bytes equals decoding them at once", () => {
  const tokenizer = bytes();
  let state = 1;
  for (let run = 0; run < 300; run++) {
    const ids = Array.from({ length: 20 }, () => (state = state * 48271 % 0x7fffffff) % 262);
    const raw = Uint8Array.from(ids.flatMap((id) => [...tokenizer.bytesOf(id)]));
    const stream = new TokenStream(tokenizer);
    const text = ids.map((id) => stream.push(id)).join("") + stream.flush();
    assertEquals(text, new TextDecoder("utf-8", { ignoreBOM: true }).decode(raw));
    assertEquals(tokenizer.decode(ids), text);
  }
});

Deno.test("an unfinished character is U+FFFD at the end, and the stream can go on", () => {
  const tokenizer = bytes();
  const stream = new TokenStream(tokenizer);
  const [first = 0] = tokenizer.encode("中");
  assertEquals(stream.push(first), "");
  assertEquals(stream.flush(), "\ufffd");
  assertEquals(stream.push(67), "a");
});

Deno.test("a hundred thousand characters without a break are encoded", () => {
  const tokenizer = bpeTokenizer([["a", "a"], ["aa", "aa"]]);
  assertEquals(tokenizer.encode("a".repeat(100_003)).length, 25_002);
  assertEquals(tokenizer.decode(new Array(100_000).fill(67)).length, 100_000);
});

Deno.test("malformed files are refused", () => {
  const refuse = (edit: (files: ReturnType<typeof byteTokenizer>) => void, words: string) =>
    assertThrows(() => bpeTokenizer([], edit), FormatError, words);
  assertThrows(() => new Tokenizer(null, {}), FormatError, "tokenizer.json is null");
  assertThrows(() => new Tokenizer({}, {}), FormatError, "model");
  refuse(({ tokenizer }) => tokenizer.decoder = { type: "Metaspace" }, "Metaspace");
  refuse(({ tokenizer }) => tokenizer.model = { type: "Unigram" }, "Unigram");
  refuse(({ tokenizer }) => tokenizer.pre_tokenizer = { type: "Nonsense" }, "Nonsense");
  refuse(({ tokenizer }) => tokenizer.added_tokens = [{ id: 0 }], "content");
  refuse(({ tokenizer }) => tokenizer.added_tokens = [{ id: 5, content: "x" }], "id 5");
  refuse(({ config }) => config.eos_token = "<none>", "<none>");
  refuse(({ config }) => delete config.eos_token, "eos_token");
  const model = (files: { tokenizer: Record<string, unknown> }) =>
    files.tokenizer.model as { vocab: Record<string, unknown>; merges: unknown };
  refuse((files) => model(files).vocab.a = -1, '"a"');
  refuse((files) => model(files).vocab.a = 1e9, "1000000000");
  refuse((files) => model(files).vocab.a = 68, "68");
  refuse((files) => model(files).merges = ["a b c"], "a b c");
  refuse((files) => model(files).merges = 3, "merges");
  refuse((files) => model(files).merges = ["a b"], 'needs the token "ab"');
  refuse(({ tokenizer }) => {
    tokenizer.model = { ...tokenizer.model as object, end_of_word_suffix: "</w>" };
  }, "end_of_word_suffix");
});

Deno.test("a missing pad token is the end token, a missing begin token is none", () => {
  const tokenizer = bpeTokenizer([], ({ config }) => {
    delete config.pad_token;
    delete config.bos_token;
    config.eos_token = { content: "<|im_end|>" };
  });
  assertEquals([tokenizer.padId, tokenizer.eosId, tokenizer.bosId], [2, 2, undefined]);
});

interface Golden {
  text: string;
  ids: number[];
  decoded: string;
  decoded_skip_special: string;
}

Deno.test({
  name: "MiniMind-V's tokenizer equals transformers'",
  ...needsShared("golden/data/tokenizer.json"),
  fn() {
    const files = sharedTokenizer("minimind-v");
    const tokenizer = new Tokenizer(files.tokenizer, files.config);
    for (const golden of readJson<Golden[]>(new URL("golden/data/tokenizer.json", SHARED))) {
      assertEquals(tokenizer.encode(golden.text), golden.ids);
      assertEquals(tokenizer.decode(golden.ids), golden.decoded);
      const skipped = tokenizer.decode(golden.ids, { skipSpecialTokens: true });
      assertEquals(skipped, golden.decoded_skip_special);
    }
    for (let id = 0; id < 259; id++) assertEquals(tokenizer.bytesOf(id), bytes().bytesOf(id));
  },
});

Deno.test({
  name: "MiniMind-3V's tokenizer has its picture token",
  ...needsShared("minimind-3v"),
  fn() {
    const files = sharedTokenizer("minimind-3v");
    const tokenizer = new Tokenizer(files.tokenizer, files.config);
    assertEquals(tokenizer.encode("<|image_pad|>".repeat(196)), new Array(196).fill(12));
    assertEquals(tokenizer.vocabSize, 6400);
    assert(tokenizer.specialIds.has(12) && !tokenizer.specialIds.has(25));
  },
});
