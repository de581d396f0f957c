import { assert } from "@std/assert";
import { type Activation, activation } from "../kernels/activation.ts";
import { ACTIVATIONS } from "./support/activations.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

const KINDS = Object.keys(ACTIVATIONS) as Activation[];

for (const kind of KINDS) {
  for (const shape of [[1, 1], [3, 17], [65, 4], [63, 17]]) {
    gpuTest(
      `${kind} equals its float64 reference at [${shape}]`,
      (gpu) =>
        checkOperation(gpu, {
          name: `${kind} ${shape}`,
          op: (x) => activation(x!, kind),
          reference: (x) => x!.map(ACTIVATIONS[kind]),
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
