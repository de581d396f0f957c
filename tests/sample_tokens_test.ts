import { assert, assertEquals, assertThrows } from "@std/assert";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import {
  sampleTokens,
  type SamplingSettings,
  samplingSettings,
  seenTokens,
} from "../kernels/sample_tokens.ts";
import { probabilities } from "../model/sampling.ts";
import { gpuTest } from "./support/gpu.ts";
import { reductionTest } from "./support/paths.ts";
import { seeded } from "./support/seeded.ts";

const ALL: SamplingSettings = {
  repetitionPenalty: 1,
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
};

interface Golden {
  options: Record<string, number>;
  previous: number[];
  logits: number[];
  probabilities: number[];
}

/** Draws with many numbers at once and holds each token against the cumulated probabilities, in the order of tokens. */
async function checkDraws(
  gpu: Gpu,
  what: string,
  logits: readonly number[],
  previous: readonly number[],
  settings: SamplingSettings,
  expected: ArrayLike<number>,
): Promise<void> {
  const random = seeded(what);
  const draws = Float32Array.from({ length: 65 }, () => random.float());
  draws.set([0, 0.99999994, 1]);
  const all = new Float32Array(draws.length * logits.length);
  for (let row = 0; row < draws.length; row++) all.set(logits, row * logits.length);
  using _scope = gpu.scope();
  const tokens = await gpu.readUint32(sampleTokens(
    gpu.tensor(all, [draws.length, logits.length]),
    samplingSettings(gpu, Array(draws.length).fill(settings)),
    gpu.tensor(draws, [draws.length]),
    seenTokens(gpu, Array(draws.length).fill(previous), logits.length),
  ));
  const total = Array.from(expected).reduce((sum, p) => sum + p, 0);
  tokens.forEach((token, row) => {
    let before = 0;
    for (let i = 0; i < token; i++) before += expected[i]! / total;
    const after = before + expected[token]! / total;
    const u = draws[row]!;
    const fits = expected[token]! > 0 && before <= u + 1e-5 && u <= after + 1e-5;
    assert(fits, `${what}: ${u} drew ${token}, which has [${before}, ${after})`);
  });
}

reductionTest("tokens are drawn with the probabilities of transformers", async (gpu) => {
  const path = new URL("./fixtures/data/sampling.json", import.meta.url);
  const cases: Golden[] = JSON.parse(await Deno.readTextFile(path));
  assert(cases.length >= 10);
  for (const [i, { options, previous, logits, probabilities }] of cases.entries()) {
    const settings: SamplingSettings = {
      repetitionPenalty: options.repetition_penalty ?? 1,
      temperature: options.temperature ?? 1,
      topK: options.top_k ?? 0,
      topP: options.top_p ?? 1,
      minP: options.min_p ?? 0,
    };
    await checkDraws(gpu, `golden ${i}`, logits, previous, settings, probabilities);
  }
});

const HOST_CASES: [number, Partial<SamplingSettings>][] = [
  [1, {}],
  [3, { topP: 0.5 }],
  [17, { temperature: 0 }],
  [63, { topK: 7, topP: 0.6, minP: 0.01 }],
  [65, { repetitionPenalty: 1.5, temperature: 0.7, topP: 0.9 }],
  [257, { temperature: 1.3, minP: 0.2 }],
  [6400, { temperature: 0.65, topK: 50, topP: 0.85, repetitionPenalty: 1.1 }],
  [6400, { topP: 0 }],
  [6401, { temperature: 0, repetitionPenalty: 1.3 }],
  [9001, { temperature: 0.8, topK: 40, topP: 0.9, repetitionPenalty: 1.2 }],
];

for (const [vocabulary, some] of HOST_CASES) {
  reductionTest(
    `tokens of ${vocabulary} are drawn as on the host: ${JSON.stringify(some)}`,
    async (gpu) => {
      const random = seeded(`logits ${vocabulary}`);
      const settings = { ...ALL, ...some };
      for (const ties of [false, true]) {
        const logits = Array.from(
          { length: vocabulary },
          () => Math.fround(ties ? Math.round(random.normal()) : 3 * random.normal()),
        );
        const previous = [0, Math.floor(vocabulary / 2)];
        const expected = probabilities(logits, previous, settings);
        const what = `${vocabulary} ${JSON.stringify(some)} ${ties}`;
        await checkDraws(gpu, what, logits, previous, settings, expected);
      }
    },
  );
}

gpuTest("each row has its own settings, and what is drawn counts as seen", async (gpu) => {
  using _scope = gpu.scope();
  const logits = gpu.tensor(Float32Array.of(3, 2, 1, 1, 2, 3, 1, 2, 3), [3, 3]);
  const settings = samplingSettings(gpu, [
    { ...ALL, temperature: 0, repetitionPenalty: 10 },
    { ...ALL, temperature: 0 },
    { ...ALL, topK: 1 },
  ]);
  const uniforms = gpu.tensor(Float32Array.of(0.9, 0.9, 0.1), [3]);
  const seen = seenTokens(gpu, [[], [], []], 3);
  const draw = async () => [
    ...await gpu.readUint32(sampleTokens(logits, settings, uniforms, seen)),
  ];
  assertEquals(await draw(), [0, 2, 2]);
  assertEquals(await draw(), [1, 2, 2]);
  assertEquals(await draw(), [2, 2, 2]);
  assertEquals([...await gpu.readUint32(seen)], [7, 4, 4]);
  assertEquals(
    [...await gpu.readUint32(sampleTokens(logits, settings, uniforms))],
    [0, 2, 2],
  );
});

gpuTest("sampleTokens takes ruled-out logits and names shapes that do not fit", async (gpu) => {
  using _scope = gpu.scope();
  const logits = gpu.tensor(Float32Array.of(-Infinity, 1e4, -Infinity, -3e38), [1, 4]);
  const settings = samplingSettings(gpu, [{ ...ALL, temperature: 0.01, topP: 0.9 }]);
  for (const u of [0, 0.5, 1]) {
    const uniforms = gpu.tensor(Float32Array.of(u), [1]);
    assertEquals([...await gpu.readUint32(sampleTokens(logits, settings, uniforms))], [1]);
  }
  assertThrows(() => sampleTokens(logits, settings, gpu.zeros([2])), ShapeError, "[2]");
});
