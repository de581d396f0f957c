import { assert } from "@std/assert";
import { type Activation, activation } from "../kernels/activation.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

/** Φ(x) by Simpson's rule. */
function phi(x: number): number {
  const n = 64, h = x / n;
  const f = (t: number): number => Math.exp(-t * t / 2);
  let sum = f(0) + f(x);
  for (let i = 1; i < n; i++) sum += f(i * h) * (i % 2 ? 4 : 2);
  return 0.5 + sum * h / 3 / Math.sqrt(2 * Math.PI);
}

const REFERENCES: Record<Activation, (x: number) => number> = {
  gelu: (x) => x * phi(x),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  quick_gelu: (x) => x / (1 + Math.exp(-1.702 * x)),
  silu: (x) => x / (1 + Math.exp(-x)),
};

const KINDS = Object.keys(REFERENCES) as Activation[];

for (const kind of KINDS) {
  for (const shape of [[1, 1], [3, 17], [65, 4], [63, 17]]) {
    gpuTest(
      `${kind} equals its float64 reference at [${shape}]`,
      (gpu) =>
        checkOperation(gpu, {
          name: `${kind} ${shape}`,
          op: (x) => activation(x!, kind),
          reference: (x) => x!.map(REFERENCES[kind]),
          shapes: [shape],
          draw: (random) => 2 * random.normal(),
        }),
    );
  }
}

gpuTest("activations stay finite far out", async (gpu) => {
  for (const kind of KINDS) {
    using _scope = gpu.scope();
    const x = gpu.tensor(Float32Array.of(-1e4, -100, -10, 0, 100, 1e4), [6]);
    const y = await gpu.read(activation(x, kind));
    const fits = y.slice(0, 2).every((v) => Math.abs(v) < 1e-20) && Math.abs(y[2]!) < 5e-4 &&
      y[3] === 0 && y[4] === 100 && y[5] === 1e4;
    assert(fits, `${kind}: ${y}`);
  }
});
