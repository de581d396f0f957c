import { assert, assertEquals } from "@std/assert";
import { Merges } from "../model/bpe.ts";
import { Random } from "../model/random.ts";

/** Merges of random tokens over these letters, each the product of two that exist. */
function randomMerges(random: Random, letters: string, count: number) {
  const vocab = new Map([...letters].map((letter, id) => [letter, id]));
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const tokens = [...vocab.keys()];
    const left = tokens[random.below(tokens.length)]!;
    const right = tokens[random.below(tokens.length)]!;
    if ((left + right).length > 6 || merges.some(([a, b]) => a === left && b === right)) continue;
    merges.push([left, right]);
    if (!vocab.has(left + right)) vocab.set(left + right, vocab.size);
  }
  return { vocab, merges };
}

/** The definition: merge the leftmost pair of the lowest rank until there is none. */
function slowSplit(word: string, merges: [string, string][]): string[] {
  const tokens = [...word];
  while (true) {
    const ranks = tokens.slice(1).map((right, i) =>
      merges.findIndex(([a, b]) => a === tokens[i] && b === right)
    );
    const least = Math.min(...ranks.filter((rank) => rank >= 0));
    if (!Number.isFinite(least)) return tokens;
    const at = ranks.indexOf(least);
    tokens.splice(at, 2, tokens[at]! + tokens[at + 1]!);
  }
}

Deno.test("words are split as by merging the lowest rank from the left", () => {
  const random = new Random(1);
  for (let table = 0; table < 20; table++) {
    const { vocab, merges } = randomMerges(random, "abc🙂", 25);
    const bpe = new Merges(vocab, merges);
    for (let run = 0; run < 50; run++) {
      const letters = ["a", "a", "b", "c", "🙂", "?"];
      const word = Array.from({ length: random.below(30) }, () => letters[random.below(6)]!).join(
        "",
      );
      const expected = slowSplit(word, merges);
      assertEquals(bpe.split(word), expected, word);
      assertEquals(bpe.split(word), expected, `${word} again`);
    }
  }
});

Deno.test("long words and empty ones are split too", () => {
  const { vocab, merges } = randomMerges(new Random(2), "ab", 10);
  const bpe = new Merges(vocab, merges);
  assertEquals(bpe.split(""), []);
  const word = "ab".repeat(50_000);
  const tokens = bpe.split(word);
  assertEquals(tokens.join(""), word);
  assert(tokens.length < word.length);
});
