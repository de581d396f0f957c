import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { Random } from "../model/random.ts";
import { argmax, probabilities, sample, type SamplingOptions } from "../model/sampling.ts";
import { readFixture } from "./support/tokenizers.ts";

interface Golden {
  options: Record<string, number>;
  previous: number[];
  logits: number[];
  probabilities: number[];
}

function fromPython(options: Record<string, number>): SamplingOptions {
  const { repetition_penalty, temperature, top_k, top_p, min_p, ...others } = options;
  assertEquals(others, {});
  return {
    repetitionPenalty: repetition_penalty,
    temperature,
    topK: top_k,
    topP: top_p,
    minP: min_p,
  };
}

Deno.test("probabilities equal transformers'", () => {
  const cases = readFixture<Golden[]>("sampling.json");
  assertEquals(cases.length, 10);
  for (const { options, previous, logits, probabilities: expected } of cases) {
    const actual = probabilities(logits, previous, fromPython(options));
    const words = JSON.stringify(options);
    assertEquals(Array.from(actual, (p) => p > 0), expected.map((p) => p > 0), words);
    expected.forEach((p, id) => assertAlmostEquals(actual[id]!, p, 1e-6, words));
  }
});

const LOGITS = [1, 3, 2, 3, -1];

Deno.test("temperature 0 is greedy, after the repetition penalty", () => {
  assertEquals([...probabilities(LOGITS, [], { temperature: 0 })], [0, 1, 0, 0, 0]);
  const punished = probabilities(LOGITS, [1, 1, 3], { temperature: 0, repetitionPenalty: 2 });
  assertEquals([...punished], [0, 0, 1, 0, 0]);
});

Deno.test("ids outside the vocabulary are not punished", () => {
  const penalty = { repetitionPenalty: 2 };
  assertEquals(probabilities(LOGITS, [99, -1], penalty), probabilities(LOGITS));
});

Deno.test("top-k keeps equals of the last, and all when k is the vocabulary", () => {
  const kept = (topK: number) => Array.from(probabilities(LOGITS, [], { topK }), (p) => p > 0);
  assertEquals(kept(1), [false, true, false, true, false]);
  assertEquals(kept(3), [false, true, true, true, false]);
  assertEquals(kept(0), kept(5));
  assertEquals(kept(6), kept(5));
});

Deno.test("top-p and min-p always leave the likeliest", () => {
  assertEquals([...probabilities([1, 3, 2], [], { topP: 0 })], [0, 1, 0]);
  assertEquals([...probabilities([1, 3, 2], [], { minP: 1 })], [0, 1, 0]);
  assertEquals([...probabilities([1, 3, 2], [], { temperature: 1e-320 })], [0, 1, 0]);
});

Deno.test("logits of minus infinity are never chosen", () => {
  const probs = probabilities([-Infinity, 0, -Infinity], [0], { repetitionPenalty: 1.5, topK: 2 });
  assertEquals([...probs], [0, 1, 0]);
});

Deno.test("tokens are drawn as often as their probabilities say", () => {
  const random = new Random(1);
  const probs = [0, 0.1, 0.6, 0, 0.3, 0];
  const counts = new Array(6).fill(0);
  for (let i = 0; i < 50_000; i++) counts[sample(probs, random)]++;
  probs.forEach((p, id) => assertAlmostEquals(counts[id] / 50_000, p, 0.01));
  assertEquals(counts[0] + counts[3] + counts[5], 0);
});

Deno.test("probabilities need not add up to 1, and the same seed draws the same", () => {
  const draw = (probs: number[]) => {
    const random = new Random(2);
    return Array.from({ length: 50 }, () => sample(probs, random));
  };
  assertEquals(draw([1, 2, 5]), draw([0.125, 0.25, 0.625]));
  assert(new Set(draw([1, 2, 5])).size === 3);
});

Deno.test("argmax takes the first of equals", () => {
  assertEquals(argmax(LOGITS), 1);
  assertEquals(argmax(Float32Array.of(-5)), 0);
});

Deno.test("what cannot be chosen from is an error", () => {
  assertThrows(() => argmax([]), GlimpseError);
  assertThrows(() => argmax([0, NaN]), GlimpseError, "token 1 is NaN");
  assertThrows(() => probabilities([NaN, 1]), GlimpseError, "NaN");
  assertThrows(() => argmax([0, Infinity]), GlimpseError, "token 1 is Infinity");
  assertThrows(() => sample([0, 0], new Random(0)), GlimpseError);
});

Deno.test("options out of their range are named", () => {
  const refuse = (options: SamplingOptions, word: string) =>
    assertThrows(() => probabilities(LOGITS, [], options), UsageError, word);
  refuse({ temperature: -0.1 }, "temperature is -0.1");
  refuse({ temperature: NaN }, "temperature");
  refuse({ topK: -1 }, "top_k");
  refuse({ topK: 1.5 }, "top_k");
  refuse({ topP: 1.01 }, "top_p");
  refuse({ topP: NaN }, "top_p");
  refuse({ minP: -1 }, "min_p");
  refuse({ repetitionPenalty: 0 }, "repetition penalty");
  refuse({ repetitionPenalty: Infinity }, "repetition penalty");
});
