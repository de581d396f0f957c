import { assert, assertEquals, assertThrows } from "@std/assert";
import { activation } from "../kernels/activation.ts";
import { startTape } from "../kernels/elementwise.ts";
import { type Choice, type Layout, linear, matmul, product } from "../kernels/matmul.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { ACTIVATIONS } from "./support/activations.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { type Extents, productReference as reference } from "./support/product_reference.ts";
import { seeded } from "./support/seeded.ts";

const LAYOUTS: readonly Layout[] = ["NT", "NN", "TN"];

/** A tensor of random numbers inside a larger one, at an offset of 256 bytes, and its numbers. */
function inside(
  gpu: Gpu,
  shape: readonly number[],
  random: () => number,
): [Tensor, Float32Array<ArrayBuffer>] {
  const size = shape.reduce((a, b) => a * b, 1);
  const host = Float32Array.from({ length: size + 128 }, random);
  return [gpu.tensor(host, [size + 128]).view(shape, 64), host.subarray(64, 64 + size)];
}

/** Compares a kernel's product, bare, with all that can be added to it, and with an activation of that, with float64, and what lies around it. */
async function checkProduct(
  gpu: Gpu,
  choice: Choice,
  layout: Layout,
  extents: Extents,
): Promise<void> {
  const [m, n, k] = extents;
  const name = `${JSON.stringify(choice)} ${layout} ${extents}`;
  const { normal } = seeded(name);
  const before = gpu.memory.live;
  {
    using _scope = gpu.scope();
    const [a, aHost] = inside(gpu, layout === "TN" ? [k, m] : [m, k], normal);
    const [b, bHost] = inside(gpu, layout === "NT" ? [n, k] : [k, n], normal);
    const [bias, biasHost] = inside(gpu, [n], normal);
    const [residual, residualHost] = inside(gpu, [m, n], normal);
    const expected = reference(layout, aHost, bHost, extents);
    const host = Float32Array.from({ length: m * n + 128 }, normal);
    const whole = gpu.tensor(host, [m * n + 128]);
    const out = whole.view([m, n], 64);
    const given = host.slice(64, 64 + m * n);

    product(layout, a, b, out, { m, n, k }, choice);
    const bare = await gpu.read(whole);
    assertClose(bare.subarray(64, 64 + m * n), expected, 1e-6, name);
    assertEquals(bare.subarray(0, 64), host.subarray(0, 64), `${name} wrote before its result`);
    assertEquals(bare.subarray(64 + m * n), host.subarray(64 + m * n), `${name} wrote beyond`);

    gpu.write(whole, host);
    product(layout, a, b, out, { m, n, k, accumulate: true, bias, residual }, choice);
    const sum = expected.map((v, i) => v + given[i]! + biasHost[i % n]! + residualHost[i]!);
    assertClose(await gpu.read(out), sum, 1e-6, `${name} with additions`);

    gpu.write(whole, host);
    const all = { accumulate: true, bias, residual, activation: "quick_gelu" } as const;
    product(layout, a, b, out, { m, n, k, ...all }, choice);
    const last = sum.map(ACTIVATIONS.quick_gelu);
    // its slope is at most 1.1, so what it leaves of the sum's error is measured by the sum
    const size = Math.sqrt(sum.reduce((all, v) => all + v * v, 0));
    assertClose(await gpu.read(out), last, 1e-6, `${name} with an activation`, size);
  }
  assert(gpu.memory.live === before, `${name}: ${gpu.memory.live - before} bytes left in use`);
}

const ODD: readonly Extents[] = [[1, 1, 1], [3, 17, 5], [63, 65, 63], [65, 63, 257]];
const FOURS: readonly Extents[] = [[4, 4, 4], [68, 132, 20], [132, 36, 260]];

// Kernels for GPUs take seconds to compile for the processor, so each line here tests what the others do not.
const FAMILIES: readonly [Choice, readonly Layout[], readonly Extents[]][] = [
  [{ family: "small" }, LAYOUTS, [...ODD, [33, 20, 7]]],
  [{ family: "gemv" }, ["NT"], [[1, 1, 4], [1, 63, 260], [2, 5, 132], [3, 5, 32], [8, 257, 260]]],
  [{ family: "tiled", tile: 32 }, ["NT"], [...ODD, ...FOURS]],
  [{ family: "tiled", tile: 32 }, ["NN", "TN"], ODD],
  [{ family: "tiled", tile: 64, slices: 3 }, ["NN"], [[4, 4, 4], [68, 132, 100]]],
  [{ family: "tiled", tile: 128 }, ["TN"], [...FOURS, [132, 260, 36]]],
];

for (const [choice, layouts, sizes] of FAMILIES) {
  for (const layout of layouts) {
    gpuTest(`product ${layout} by ${JSON.stringify(choice)} equals float64`, async (gpu) => {
      for (const extents of sizes) await checkProduct(gpu, choice, layout, extents);
    });
  }
}

for (const layout of LAYOUTS) {
  gpuTest(`product ${layout} by the software adapter's kernel equals float64`, async (gpu) => {
    if (!gpu.info.software || gpu.info.subgroupSize !== 8) return;
    const choice: Choice = { family: "software" };
    // The last ones are not small, and have more rows, or steps of k, than a texture holds, or more rows than all of them do.
    const sizes: Extents[] = [[1, 4, 4], [133, 36, 260], [64, 32, 256], [250, 512, 264]];
    sizes.push([1030, 128, 256], [4104, 8, 16]);
    if (layout === "TN") sizes.push([132, 36, 1], [8, 12, 257], [4, 8, 8197]);
    else sizes.push([3, 8, 8200]);
    for (const [m, n, k] of sizes) {
      await checkProduct(gpu, choice, layout, [layout === "TN" ? Math.ceil(m / 4) * 4 : m, n, k]);
    }
  });
}

for (const extents of [[1, 1, 1], [3, 17, 8], [17, 3, 63]] as const) {
  const [m, n, k] = extents;
  for (const layout of LAYOUTS) {
    gpuTest(
      `matmul ${layout} and its gradients equal float64 at ${extents}`,
      (gpu) =>
        checkOperation(gpu, {
          name: `matmul ${layout} ${extents}`,
          op: (a, b) => matmul(a!, b!, layout),
          reference: (a, b) => reference(layout, a!, b!, extents),
          shapes: [layout === "TN" ? [k, m] : [m, k], layout === "NT" ? [n, k] : [k, n]],
        }),
    );
  }
}

gpuTest(
  "linear adds a bias and a residual and hands their gradients on",
  (gpu) =>
    checkOperation(gpu, {
      name: "linear",
      op: (x, weight, bias, residual) => linear(x!, weight!, { bias: bias!, residual: residual! }),
      reference: (x, weight, bias, residual) =>
        reference("NT", x!, weight!, [6, 9, 5]).map((sum, i) =>
          sum + bias![i % 9]! + residual![i]!
        ),
      shapes: [[2, 3, 5], [9, 5], [9], [2, 3, 9]],
    }),
);

gpuTest(
  "linear applies an activation and hands gradients on through it",
  (gpu) =>
    checkOperation(gpu, {
      name: "linear activation",
      op: (x, weight, bias) => linear(x!, weight!, { bias: bias!, activation: "quick_gelu" }),
      reference: (x, weight, bias) =>
        reference("NT", x!, weight!, [6, 9, 5]).map((sum, i) =>
          ACTIVATIONS.quick_gelu(sum + bias![i % 9]!)
        ),
      shapes: [[6, 5], [9, 5], [9]],
    }),
);

gpuTest(
  "linear joins an activation where no gradient needs its input, with the same bits",
  async (gpu) => {
    const { normal } = seeded("joined");
    for (const extents of [[5, 12, 8], [33, 17, 7], [260, 256, 132]] as const) {
      using _scope = gpu.scope();
      using _tape = startTape(gpu);
      const [m, n, k] = extents;
      const [x, weight, bias] = [[m, k], [n, k], [n]].map((shape) => inside(gpu, shape, normal)[0]);
      const run = async (op: () => Tensor): Promise<[Float32Array, number]> => {
        const { dispatches } = gpu.counts;
        const y = op();
        return [await gpu.read(y), gpu.counts.dispatches - dispatches];
      };
      const joined = () => linear(x!, weight!, { bias: bias!, activation: "quick_gelu" });
      const [apart, count] = await run(() =>
        activation(linear(x!, weight!, { bias: bias! }), "quick_gelu")
      );
      assertEquals(await run(joined), [apart, count - 1], `${extents}`);
      bias!.requiresGrad = true;
      assertEquals(await run(joined), [apart, count], `${extents}, trained`);
    }
  },
);

gpuTest("linear sums the gradients of a weight that is used twice", (gpu) =>
  checkOperation(gpu, {
    name: "linear twice",
    op: (x, weight) => linear(linear(x!, weight!), weight!),
    reference: (x, weight) =>
      reference("NT", reference("NT", x!, weight!, [7, 6, 6]), weight!, [7, 6, 6]),
    shapes: [[7, 6], [6, 6]],
  }));

gpuTest(
  "linear computes no gradient for a frozen weight and keeps no input for it",
  (gpu) =>
    checkOperation(gpu, {
      name: "linear frozen",
      op: (x, weight) => linear(x!, weight!),
      reference: (x, weight) => reference("NT", x!, weight!, [5, 12, 20]),
      shapes: [[5, 20], [12, 20]],
      differentiable: [true, false],
    }),
);

gpuTest("linear names the shapes that do not fit", (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.zeros([2, 4]);
  assertThrows(() => linear(x, gpu.zeros([3, 5])), ShapeError, "[3,5]");
  assertThrows(() => linear(x, gpu.zeros([3, 4]), { bias: gpu.zeros([4]) }), ShapeError, "bias");
  assertThrows(() => linear(x, gpu.zeros([3, 4]), { residual: x }), ShapeError, "residual");
  assertThrows(() => matmul(x, x, "NN"), ShapeError, "NN");
  assertThrows(() => product("NT", x, x, x, { m: 2, n: 2, k: 4 }), ShapeError, "k = 4");
  return Promise.resolve();
});
