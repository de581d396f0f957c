/** The figures of `tests/fixtures/metrics` are those of the reference implementations (Python). */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { bleu4, bleuCounts } from "../model/metrics/bleu.ts";
import { difference, interval, type Measure } from "../model/metrics/bootstrap.ts";
import { captionTokens } from "../model/metrics/caption_tokens.ts";
import { type Captioned, cider } from "../model/metrics/cider.ts";
import { rougeL } from "../model/metrics/rouge_l.ts";
import { vqaAccuracy, vqaAnswer } from "../model/metrics/vqa.ts";
import { Random } from "../model/random.ts";
import captions from "./fixtures/metrics/captions.json" with { type: "json" };
import raw from "./fixtures/metrics/raw_captions.json" with { type: "json" };
import vqa from "./fixtures/metrics/vqa.json" with { type: "json" };

const items: readonly Captioned[] = captions.items;
const mean = (of: readonly number[]) => of.reduce((sum, one) => sum + one, 0) / of.length;

Deno.test("BLEU-4 is the reference implementation's, of all captions and of each", () => {
  const counts = items.map(({ caption, references }) => bleuCounts(caption, references));
  const sums = counts.reduce((a, b) => a.map((one, i) => one + b[i]!));
  assertAlmostEquals(bleu4(sums), captions.bleu_4, 1e-12);
  counts.forEach((one, i) => assertAlmostEquals(bleu4(one), captions.bleu_4_each[i]!, 1e-12));
});

Deno.test("ROUGE-L is the reference implementation's", () => {
  const each = items.map(({ caption, references }) => rougeL(caption, references));
  each.forEach((one, i) => assertAlmostEquals(one, captions.rouge_l_each[i]!, 1e-12));
  assertAlmostEquals(mean(each), captions.rouge_l, 1e-12);
});

Deno.test("CIDEr is the reference implementation's", () => {
  const each = cider(items);
  each.forEach((one, i) => assertAlmostEquals(one, captions.cider_each[i]!, 1e-12));
  assertAlmostEquals(mean(each), captions.cider, 1e-12);
});

Deno.test("captions are split as COCO's evaluation splits them", () => {
  for (const [text, tokens] of raw.tokens) {
    assertEquals(captionTokens(text!).join(" "), tokens!.trim(), text);
  }
  assertEquals(captionTokens("一只红色的狗。").join(" "), "一 只 红 色 的 狗");
});

Deno.test("raw captions get the reference implementation's figures", () => {
  const split: Captioned[] = raw.items.map(({ caption, references }) => ({
    caption: captionTokens(caption),
    references: references.map(captionTokens),
  }));
  const counts = split.map(({ caption, references }) => bleuCounts(caption, references));
  const sums = counts.reduce((a, b) => a.map((one, i) => one + b[i]!));
  assertAlmostEquals(bleu4(sums), raw.bleu_4, 1e-12);
  const rouge = split.map(({ caption, references }) => rougeL(caption, references));
  const ciders = cider(split);
  for (const i of split.keys()) {
    assertAlmostEquals(bleu4(counts[i]!), raw.bleu_4_each[i]!, 1e-12);
    assertAlmostEquals(rouge[i]!, raw.rouge_l_each[i]!, 1e-12);
    assertAlmostEquals(ciders[i]!, raw.cider_each[i]!, 1e-12);
  }
});

Deno.test("VQA's answers are normalised and counted as its evaluation does", () => {
  for (const [text, plain] of vqa.answers) assertEquals(vqaAnswer(text!), plain);
  for (const [answer, people, accuracy] of vqa.accuracies) {
    assertAlmostEquals(
      vqaAccuracy(answer as string, people as string[]),
      accuracy as number,
      1e-12,
    );
  }
  assertEquals(vqaAccuracy("A dog.", ["dog"]), 1);
  assertEquals(vqaAccuracy("cat", ["dog", "bird"]), 0);
});

Deno.test("a bootstrap interval holds the true mean as often as it says, and is the same each time", () => {
  const random = new Random(5);
  const draw = (shift = 0): Measure => ({
    parts: Array.from({ length: 60 }, () => [random.normal() + shift, 1]),
    of: ([sum, count]) => sum! / count!,
  });
  const runs = Array.from({ length: 60 }, (_, i) => interval(draw(), i));
  const held = runs.filter(({ low, high }) => low <= 0 && high >= 0).length;
  assert(held >= 52, `${held} of 60`);
  const one = draw();
  assertEquals(interval(one, 7), interval(one, 7));
  const above: Measure = { ...one, parts: one.parts.map(([v, n]) => [v! + 0.5, n!]) };
  const { value, low, high } = difference(one, above, 7);
  for (const number of [value, low, high]) assertAlmostEquals(number, 0.5, 1e-9);
});
