import { assert, assertEquals, assertThrows } from "@std/assert";
import { backward, startTape } from "../kernels/elementwise.ts";
import { balanceLoss, expertFeedForward, routeTokens, type Routing } from "../kernels/experts.ts";
import { type GroupedFamily, groupedProduct } from "../kernels/experts/product.ts";
import type { Layout } from "../kernels/matmul.ts";
import { sum } from "../kernels/reduce.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { packSequences } from "../kernels/sequences.ts";
import { softmax } from "../kernels/softmax.ts";
import { balanceReference, chooseReference, expertsReference } from "./support/experts.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { everyPathTest } from "./support/paths.ts";
import { type Seeded, seeded } from "./support/seeded.ts";

const TOKENS = [1, 3, 17, 65, 257];

/** Logits [tokens, experts]; with `favour`, almost everybody's first choice is expert 0. */
function drawLogits(random: Seeded, tokens: number, experts: number, favour = 0): number[] {
  return Array.from(
    { length: tokens * experts },
    (_, i) => 2 * random.normal() + (i % experts === 0 ? favour : 0),
  );
}

/** Draws logits that are never so close that a small change of one changes what is chosen. */
function spacedLogits(experts: number, favour = 0): (random: Seeded) => number {
  let drawn = 0;
  return (random) => {
    const expert = drawn++ % experts;
    return Math.round(5 * random.normal()) / 5 + 0.03 * expert + (expert === 0 ? favour : 0);
  };
}

/** Scores on the device, and the choices by them, as if a tape recorded: with tiles of many rows. */
function route(gpu: Gpu, logits: readonly number[], experts: number, choices: number): Routing {
  using _tape = startTape(gpu);
  const scores = softmax(gpu.tensor(Float32Array.from(logits), [logits.length / experts, experts]));
  return routeTokens(scores, { choices, normalize: true });
}

/** Asserts that the choices are the reference's and that the rows are sorted by them, in the order of the tokens. */
async function checkRouting(gpu: Gpu, routing: Routing, logits: readonly number[]): Promise<void> {
  const { experts, choices, tile, tiles } = routing;
  const expected = chooseReference(logits, experts, choices, true);
  assertEquals([...await gpu.readUint32(routing.chosen)], expected.chosen);
  assertClose(await gpu.read(routing.weights), expected.weights, 1e-6, "weights");
  const slots: number[] = [], rows = new Array(tile * tiles).fill(0);
  const tileExperts: number[] = [], firstTiles = [0];
  for (let e = 0; e < experts; e++) {
    const mine = [...expected.chosen.keys()].filter((choice) => expected.chosen[choice] === e);
    mine.forEach((choice, i) => {
      slots[choice] = tileExperts.length * tile + i;
      rows[slots[choice]!] = choice + 1;
    });
    for (let i = 0; i < mine.length; i += tile) tileExperts.push(e);
    firstTiles.push(tileExperts.length);
  }
  assert(tileExperts.length <= tiles, `${tileExperts.length} tiles do not fit ${tiles}`);
  while (tileExperts.length < tiles) tileExperts.push(experts);
  assertEquals([...await gpu.readUint32(routing.firstTiles)], firstTiles);
  assertEquals([...await gpu.readUint32(routing.tileExperts)], tileExperts);
  assertEquals([...await gpu.readUint32(routing.slots)], slots);
  assertEquals([...await gpu.readUint32(routing.rows)], rows);
}

for (const [experts, choices] of [[4, 2], [5, 2], [4, 1], [3, 3], [1, 1]] as const) {
  everyPathTest(`routing of ${choices} of ${experts} experts is a stable sort`, async (gpu) => {
    const before = gpu.memory.live;
    for (const tokens of TOKENS) {
      for (const favour of [0, 20]) {
        using _scope = gpu.scope();
        const random = seeded(`routing ${tokens} ${experts} ${favour}`);
        const logits = drawLogits(random, tokens, experts, favour);
        await checkRouting(gpu, route(gpu, logits, experts, choices), logits);
      }
    }
    assertEquals(gpu.memory.live, before, "bytes left in use");
  });
}

gpuTest("a few tokens in inference have a tile each", async (gpu) => {
  using _scope = gpu.scope();
  const logits = drawLogits(seeded("few"), 3, 4);
  const scores = softmax(gpu.tensor(Float32Array.from(logits), [3, 4]));
  const routing = routeTokens(scores, { choices: 2, normalize: true });
  assertEquals([routing.tile, routing.tiles], [1, 6]);
  await checkRouting(gpu, routing, logits);
});

gpuTest("of equal scores the lower expert wins, and NaN harms nobody else", async (gpu) => {
  using _scope = gpu.scope();
  const scores = gpu.tensor(
    new Float32Array([0.25, 0.25, 0.25, 0.25, NaN, NaN, NaN, NaN, 0.1, 0.4, 0.1, 0.4]),
    [3, 4],
  );
  const { chosen, weights } = routeTokens(scores, { choices: 3, normalize: false });
  assertEquals([...await gpu.readUint32(chosen)], [0, 1, 2, 0, 1, 2, 1, 3, 0]);
  const values = await gpu.read(weights);
  assertEquals([...values.subarray(0, 3)], [0.25, 0.25, 0.25]);
  assertEquals([...values.subarray(6)], [0.4, 0.4, 0.1].map(Math.fround));
});

/** A grouped product in float64 over the rows that are in use. */
function groupedReference(
  layout: Layout,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  rowExperts: readonly number[],
  [experts, m, n, k]: readonly [number, number, number, number],
): Float64Array {
  const out = new Float64Array((layout === "TN" ? experts * m : rowExperts.length) * n);
  rowExperts.forEach((e, row) => {
    if (e === experts) return;
    for (let j = 0; j < n; j++) {
      if (layout === "TN") {
        for (let i = 0; i < m; i++) out[(e * m + i) * n + j]! += a[row * m + i]! * b[row * n + j]!;
        continue;
      }
      for (let l = 0; l < k; l++) {
        out[row * n + j]! += a[row * k + l]! *
          b[layout === "NT" ? (e * n + j) * k + l : (e * k + l) * n + j]!;
      }
    }
  });
  return out;
}

async function checkGrouped(
  gpu: Gpu,
  family: GroupedFamily,
  layout: Layout,
  routing: Routing,
  [n, k]: readonly [number, number],
): Promise<void> {
  const { experts, tile, tiles } = routing;
  const rows = tile * tiles, m = k;
  const name = `${family} ${layout} ${rows} x ${n} x ${k}`;
  const { normal } = seeded(name);
  const tileExperts = await gpu.readUint32(routing.tileExperts);
  const rowExperts = Array.from({ length: rows }, (_, row) => tileExperts[Math.floor(row / tile)]!);
  const used = rowExperts.findLastIndex((e) => e < experts) + 1;
  const draw = (size: number) => Float32Array.from({ length: size }, normal);
  const aHost = draw(rows * k), bHost = draw(layout === "TN" ? rows * n : experts * n * k);
  if (layout === "TN") {
    aHost.fill(0, used * m);
    bHost.fill(0, used * n);
  }
  const a = gpu.tensor(aHost, [rows, k]);
  const shape = { NT: [experts * n, k], NN: [experts * k, n], TN: [rows, n] }[layout];
  const b = gpu.tensor(bHost, shape);
  const given = draw(layout === "TN" ? experts * m * n : rows * n);
  const out = gpu.tensor(given, [given.length / n, n]);
  const compared = layout === "TN" ? given.length : used * n;
  const expected = groupedReference(layout, aHost, bHost, rowExperts, [experts, m, n, k])
    .subarray(0, compared);
  if (family !== "gemv") { // which adds nothing to what is there
    groupedProduct(layout, a, b, out, routing, true, "float32", family);
    const added = expected.map((v, i) => v + given[i]!);
    assertClose((await gpu.read(out)).subarray(0, compared), added, 2e-6, `${name} added`);
  }
  groupedProduct(layout, a, b, out, routing, false, "float32", family);
  assertClose((await gpu.read(out)).subarray(0, compared), expected, 2e-6, name);
}

everyPathTest("grouped products of a few tokens, a tile each, equal float64", async (gpu) => {
  for (const [n, k] of [[36, 68], [5, 3], [64, 32]] as const) {
    using _scope = gpu.scope();
    const logits = Float32Array.from(drawLogits(seeded("few"), 3, 4));
    const routing = routeTokens(softmax(gpu.tensor(logits, [3, 4])), {
      choices: 2,
      normalize: true,
    });
    assertEquals(routing.tile, 1);
    await checkGrouped(gpu, "gemv", "NT", routing, [n, k]);
  }
});

const FAMILIES: readonly GroupedFamily[] = ["small", "tiled", "software"];

for (const family of FAMILIES) {
  for (const layout of ["NT", "NN", "TN"] as const) {
    everyPathTest(`grouped product ${layout} by "${family}" equals float64`, async (gpu) => {
      const before = gpu.memory.live;
      for (const tokens of [3, 65, 257, 1100]) {
        for (const [n, k] of [[36, 68], [5, 3], [64, 32]] as const) {
          if (family === "software" && (gpu.info.subgroupSize !== 8 || n % 4 > 0)) continue;
          // tiles of 128 read single numbers and the other layouts as those of 64 do, and take half a minute to compile
          if (family === "tiled" && tokens === 1100 && (n % 4 > 0 || layout !== "NT")) continue;
          for (const favour of [0, 30]) {
            using _scope = gpu.scope();
            const logits = drawLogits(seeded(`${tokens} ${n}`), tokens, 4, favour);
            await checkGrouped(gpu, family, layout, route(gpu, logits, 4, 1), [n, k]);
          }
        }
      }
      assertEquals(gpu.memory.live, before, "bytes left in use");
    });
  }
}

gpuTest("grouped products of more experts than a texture holds equal float64", async (gpu) => {
  if (!gpu.info.software || gpu.info.subgroupSize !== 8) return;
  for (const layout of ["NT", "NN", "TN"] as const) {
    using _scope = gpu.scope();
    const routing = route(gpu, drawLogits(seeded("many"), 257, 11), 11, 1);
    await checkGrouped(gpu, "software", layout, routing, [132, 68]);
  }
});

for (const tokens of TOKENS) {
  for (
    const [experts, choices, favour] of [[4, 2, 0], [5, 2, 6], [4, 1, 6], [5, 1, 0]] as const
  ) {
    const name = `experts ${tokens} ${experts} ${choices} ${favour}`;
    everyPathTest(
      `${name}: the experts' outputs and gradients equal float64`,
      (gpu) => {
        const [width, inner] = tokens === 65 ? [7, 5] : tokens === 17 ? [16, 20] : [8, 12];
        const logit = spacedLogits(experts, favour);
        return checkOperation(gpu, {
          name,
          op: (x, logits, gateUp, down, residual) => {
            const routing = routeTokens(softmax(logits!), { choices, normalize: true });
            return expertFeedForward(x!, routing, gateUp!, down!, residual);
          },
          reference: (x, logits, gateUp, down, residual) => {
            const routed = chooseReference(logits!, experts, choices, true);
            return expertsReference(x!, routed, gateUp!, down!, width, inner, residual);
          },
          shapes: [
            [tokens, width],
            [tokens, experts],
            [experts * 2 * inner, width],
            [experts * width, inner],
            [tokens, width],
          ],
          draw: (random, input) => input === 1 ? logit(random) : random.normal(),
          tolerance: 3e-5,
          samples: 24,
        });
      },
    );
  }
}

gpuTest("an expert without tokens gets a gradient of zero", async (gpu) => {
  using _scope = gpu.scope();
  const random = seeded("idle");
  const draw = (...shape: number[]) =>
    gpu.tensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, random.normal),
      shape,
    );
  const [x, gateUp, down] = [draw(20, 8), draw(3 * 24, 8), draw(3 * 8, 12)];
  for (const weight of [gateUp, down]) {
    weight.requiresGrad = true;
    weight.grad = draw(...weight.shape);
  }
  const logits = gpu.tensor(Float32Array.from({ length: 60 }, (_, i) => i % 3 ? 0 : 9), [20, 3]);
  using tape = startTape(gpu);
  const routing = routeTokens(softmax(logits), { choices: 1, normalize: true });
  backward(tape, sum(expertFeedForward(x, routing, gateUp, down)));
  const [first, ...rest] = [gateUp, down].map(({ grad }) => grad!);
  assert((await gpu.read(first!)).subarray(0, 24 * 8).every((v) => v !== 0));
  assert((await gpu.read(first!)).subarray(24 * 8).every((v) => v === 0));
  assert((await gpu.read(rest[0]!)).subarray(8 * 12).every((v) => v === 0));
});

for (
  const [lengths, bySequence] of [[[1], true], [[3, 65, 130], true], [[64, 7], false]] as const
) {
  for (const [experts, choices] of [[4, 2], [5, 1]] as const) {
    const name = `balance loss ${lengths} ${experts} ${choices} ${bySequence}`;
    const total = lengths.reduce((a: number, b) => a + b, 0);
    everyPathTest(`${name}: the loss and its gradient equal float64`, (gpu) =>
      checkOperation(gpu, {
        name,
        op: (logits) => {
          const scores = softmax(logits!);
          const routing = routeTokens(scores, { choices, normalize: true });
          return balanceLoss(scores, routing, packSequences(gpu, lengths), 0.1, bySequence);
        },
        reference: (logits) => {
          const routed = chooseReference(logits!, experts, choices, true);
          return new Float64Array([
            balanceReference(routed, experts, bySequence ? lengths : [total], 0.1),
          ]);
        },
        shapes: [[total, experts]],
        draw: spacedLogits(experts),
      }));
  }
}

gpuTest("experts name the shapes that do not fit", (gpu) => {
  using _scope = gpu.scope();
  const scores = softmax(gpu.zeros([5, 4]));
  assertThrows(() => routeTokens(scores, { choices: 5, normalize: true }), ShapeError, "5 of 4");
  assertThrows(() => routeTokens(scores, { choices: 0, normalize: true }), ShapeError, "0 of 4");
  const routing = routeTokens(scores, { choices: 2, normalize: true });
  const [gateUp, down] = [gpu.zeros([4 * 24, 8]), gpu.zeros([4 * 8, 12])];
  const run = (x: number[], ...weights: [typeof gateUp, typeof down]) =>
    assertThrows(() => expertFeedForward(gpu.zeros(x), routing, ...weights), ShapeError, `[${x}]`);
  run([6, 8], gateUp, down);
  run([5, 7], gateUp, down);
  run([5, 8], gpu.zeros([3 * 24, 8]), down);
  run([5, 8], gateUp, gpu.zeros([4 * 8, 13]));
  const sequences = packSequences(gpu, [4]);
  assertThrows(() => balanceLoss(scores, routing, sequences, 0.1), ShapeError, "4 rows");
  return Promise.resolve();
});
