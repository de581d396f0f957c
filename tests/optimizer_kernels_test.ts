import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  adamw,
  type AdamWConstants,
  decideUpdate,
  squaredNorm,
  STATE,
  updateState,
} from "../kernels/optimizer.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { assertClose } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { everyPathTest } from "./support/paths.ts";
import { seeded } from "./support/seeded.ts";

const CONSTANTS: AdamWConstants = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };

interface Reference {
  values: Float64Array;
  first: Float64Array;
  second: Float64Array;
}

function referenceStep(r: Reference, gradient: Float64Array, rate: number, t: number): void {
  const { beta1, beta2, eps, weightDecay } = CONSTANTS;
  gradient.forEach((g, i) => {
    r.first[i] = r.first[i]! * beta1 + (1 - beta1) * g;
    r.second[i] = r.second[i]! * beta2 + (1 - beta2) * g * g;
    const denominator = Math.sqrt(r.second[i]! / (1 - beta2 ** t)) + eps;
    r.values[i]! *= 1 - rate * weightDecay;
    r.values[i]! -= rate / (1 - beta1 ** t) * r.first[i]! / denominator;
  });
}

function flat(gpu: Gpu, n: number): Record<"values" | "gradients" | "first" | "second", Tensor> {
  const zeros = () => gpu.zeros([n]);
  return { values: zeros(), gradients: zeros(), first: zeros(), second: zeros() };
}

for (const sizes of [[1], [3, 17], [64, 257], [40000, 63]]) {
  everyPathTest(`AdamW with clipping equals its float64 reference on [${sizes}]`, async (gpu) => {
    const before = gpu.memory.live;
    {
      using _scope = gpu.scope();
      const random = seeded(`adamw ${sizes}`);
      const draw = (n: number, scale: number) =>
        Float32Array.from({ length: n }, () => scale * random.normal());
      const groups = sizes.map((n) => flat(gpu, n));
      const references = sizes.map((n, group) => {
        const values = draw(n, 1);
        gpu.write(groups[group]!.values, values);
        return {
          values: Float64Array.from(values),
          first: new Float64Array(n),
          second: new Float64Array(n),
        };
      });
      const start = references.map(({ values }) => values.slice());
      const state = updateState(gpu);
      const rates = gpu.zeros([sizes.length]);
      for (let t = 1; t <= 5; t++) {
        const gradients = sizes.map((n) => draw(n, 10 ** (t - 3)));
        gradients.forEach((gradient, i) => gpu.write(groups[i]!.gradients, gradient));
        gpu.write(rates, Float32Array.from(sizes, (_, i) => 0.01 * t * (i + 1)));
        const squared = squaredNorm(groups.map(({ gradients }) => gradients));
        decideUpdate(state, squared, CONSTANTS, 0.5);
        groups.forEach((group, i) => adamw(group, state, rates, i, CONSTANTS));

        const norm = Math.sqrt(gradients.flatMap((g) => [...g]).reduce((s, g) => s + g * g, 0));
        const factor = Math.min(1, 0.5 / (norm + 1e-6));
        references.forEach((reference, i) => {
          const gradient = Float64Array.from(gradients[i]!, (g) => g * factor);
          referenceStep(reference, gradient, Math.fround(0.01 * t * (i + 1)), t);
        });
        const now = await gpu.read(state);
        assertClose([now[STATE.norm]!], [norm], 1e-6, "norm");
        assertClose([now[STATE.factor]!], [factor], 1e-6, "factor");
        assertEquals(now[STATE.updates], t);
      }
      for (const [i, { values, first, second }] of groups.entries()) {
        const reference = references[i]!;
        const change = (a: ArrayLike<number>) => Array.from(start[i]!, (v, k) => a[k]! - v);
        const changed = change(await gpu.read(values));
        assertClose(changed, change(reference.values), 1e-5, "change of the values");
        assertClose(await gpu.read(first), reference.first, 1e-5, "first moments");
        assertClose(await gpu.read(second), reference.second, 1e-5, "second moments");
      }
    }
    assert(gpu.memory.live === before, `${gpu.memory.live - before} bytes left in use`);
  });
}

gpuTest("a gradient that is not finite changes nothing and does not count", async (gpu) => {
  using _scope = gpu.scope();
  for (const bad of [NaN, Infinity, -Infinity, 1e30]) {
    const group = flat(gpu, 65);
    const state = updateState(gpu, 7);
    gpu.write(group.values, new Float32Array(65).fill(3));
    gpu.write(group.gradients, new Float32Array(65).fill(1, 0, 40).fill(bad, 40, 41));
    const rates = gpu.tensor(Float32Array.of(0.1), [1]);
    decideUpdate(state, squaredNorm([group.gradients]), CONSTANTS, 1);
    adamw(group, state, rates, 0, CONSTANTS);
    const now = await gpu.read(state);
    assertEquals([now[STATE.updates], now[STATE.skipped], now[STATE.factor]], [7, 1, 0]);
    assert((await gpu.read(group.values)).every((v) => v === 3));
    assert((await gpu.read(group.first)).every((v) => v === 0));
  }
});

gpuTest("bias corrections hold early and late, without clipping and with a scale", async (gpu) => {
  using _scope = gpu.scope();
  const squared = gpu.tensor(Float32Array.of(16), [1]);
  for (const t of [1, 2, 10, 249, 250, 1000, 100000]) {
    const state = updateState(gpu, t - 1);
    decideUpdate(state, squared, CONSTANTS, Infinity, 0.25);
    const now = await gpu.read(state);
    const { updates, norm, factor, correction1, correction2 } = STATE;
    assertClose(
      [updates, norm, factor, correction1, correction2].map((at) => now[at]!),
      [t, 1, 0.25, 1 / (1 - 0.9 ** t), 1 / Math.sqrt(1 - 0.999 ** t)],
      1e-6,
      `step ${t}`,
    );
  }
});

gpuTest("adamw names what does not fit", (gpu) => {
  using _scope = gpu.scope();
  const group = { ...flat(gpu, 4), second: gpu.zeros([5]) };
  const [state, rates] = [updateState(gpu), gpu.zeros([1])];
  assertThrows(() => adamw(group, state, rates, 0, CONSTANTS), ShapeError, "second [5]");
  return Promise.resolve();
});
