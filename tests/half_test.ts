import { assert, assertEquals, assertThrows } from "@std/assert";
import { crossEntropy } from "../kernels/cross_entropy.ts";
import { startTape } from "../kernels/elementwise.ts";
import { embedding } from "../kernels/embedding.ts";
import { expertFeedForward, routeTokens } from "../kernels/experts.ts";
import { type GroupedFamily, groupedProduct } from "../kernels/experts/product.ts";
import { roundToHalf } from "../kernels/half.ts";
import { type Choice, type Layout, linear, matmul, product } from "../kernels/matmul.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { HalfDtype } from "../kernels/runtime/precision.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { softmax } from "../kernels/softmax.ts";
import { fromFloat32, toFloat32 } from "../model/host_tensor.ts";
import { assertClose, relativeError } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { everyPathTest } from "./support/paths.ts";
import { type Extents, productReference } from "./support/product_reference.ts";
import { seeded } from "./support/seeded.ts";

const HALVES: readonly HalfDtype[] = ["float16", "bfloat16"];
const LAYOUTS: readonly Layout[] = ["NT", "NN", "TN"];

/** Whether the device computes in a kind of half precision. */
function has(gpu: Gpu, dtype: HalfDtype): boolean {
  return dtype === "bfloat16" || gpu.info.float16;
}

type Numbers = Float32Array<ArrayBuffer>;

function draw(name: string, size: number): Numbers {
  const { normal } = seeded(name);
  return Float32Array.from({ length: size }, normal);
}

/** Numbers rounded on the host, as float32. */
function rounded(values: Numbers, dtype: HalfDtype): Numbers {
  return toFloat32(fromFloat32(values, dtype), dtype);
}

/** A tensor of half precision with numbers that the host has rounded. */
function half(gpu: Gpu, values: Numbers, shape: readonly number[], dtype: HalfDtype): Tensor {
  const tensor = gpu.empty(shape, dtype);
  const { buffer, byteOffset } = fromFloat32(values, dtype);
  gpu.write(tensor, new Uint16Array(buffer, byteOffset, values.length));
  return tensor;
}

for (const dtype of HALVES) {
  everyPathTest(`the device rounds to ${dtype} as the host does`, async (gpu) => {
    if (!has(gpu, dtype)) return;
    using _scope = gpu.scope();
    const edges = [0, -0, 1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65504];
    edges.push(65519, 65520, 1e6, -1e9, 3.4e38, Infinity, -Infinity, 6e-5, 5e-6, 6e-8, 2.9e-8);
    for (const size of [1, 3, 64, 257]) {
      const values = draw("rounding", size).map((v, i) => edges[i] ?? v * 10 ** (i % 13 - 6));
      const y = gpu.empty([size], dtype);
      roundToHalf(gpu.tensor(values, [size]), y);
      const bits = new Uint16Array(await gpu.readBytes(y));
      assertEquals([...bits], [...new Uint16Array(fromFloat32(values, dtype).slice().buffer)]);
    }
    const nan = gpu.empty([4]), y = gpu.empty([4], dtype);
    gpu.write(nan, new Uint32Array([0x7fffffff, 0xffffffff, 0x7f800001, 0x7fc00000]));
    roundToHalf(nan, y);
    const read = toFloat32(new Uint8Array(await gpu.readBytes(y)), dtype);
    assert(read.every(Number.isNaN), `NaN became ${read}`);
  });
}

async function checkProduct(
  gpu: Gpu,
  choice: Choice,
  layout: Layout,
  dtype: HalfDtype,
  extents: Extents,
): Promise<void> {
  const [m, n, k] = extents;
  const name = `${JSON.stringify(choice)} ${layout} ${dtype} ${extents}`;
  const before = gpu.memory.live;
  {
    using _scope = gpu.scope();
    const [a, b] = [draw(`a ${name}`, m * k), draw(`b ${name}`, k * n)];
    const known = (values: Numbers, isHalf: boolean) =>
      isHalf || choice.family !== "tiled" ? rounded(values, dtype) : values;
    const expected = productReference(layout, known(a, false), known(b, layout !== "TN"), extents);
    const [left, right] = [gpu.tensor(a, [m * k]), gpu.tensor(b, [k * n])];
    const packed = half(gpu, b, [k * n], dtype);
    const out = gpu.zeros([m, n]);
    const both = choice.family !== "tiled" && layout !== "TN";
    for (const b of both ? [packed, right] : [layout === "TN" ? right : packed]) {
      product(layout, left, b, out, { m, n, k, precision: dtype }, choice);
      assertClose(await gpu.read(out), expected, 1e-6, `${name} of ${b.dtype}`);
    }
    const [bias, residual] = [draw("bias", n), draw("residual", m * n)];
    const added = { bias: gpu.tensor(bias, [n]), residual: gpu.tensor(residual, [m, n]) };
    if (layout !== "TN") right.half = packed;
    const options = { m, n, k, accumulate: true, ...added, precision: dtype };
    product(layout, left, right, out, options, choice);
    const sums = expected.map((v, i) => 2 * v + bias[i % n]! + residual[i]!);
    assertClose(await gpu.read(out), sums, 1e-6, `${name} with additions`);
  }
  assert(gpu.memory.live === before, `${name}: ${gpu.memory.live - before} bytes left in use`);
}

const ODD: readonly Extents[] = [[1, 1, 1], [3, 17, 5], [65, 63, 257]];
const FOURS: readonly Extents[] = [[4, 4, 4], [68, 132, 20]];

// Kernels for GPUs take seconds to compile for the processor, so each line here tests what the others do not.
const FAMILIES: readonly [Choice, readonly Layout[], readonly Extents[]][] = [
  [{ family: "small" }, LAYOUTS, [...ODD, [33, 20, 7]]],
  [{ family: "gemv" }, ["NT"], [[1, 1, 4], [3, 5, 32], [8, 257, 260]]],
  [{ family: "tiled", tile: 32 }, ["NT"], [...ODD, ...FOURS]],
  [{ family: "tiled", tile: 64, slices: 3 }, ["NN"], [[68, 132, 100]]],
  [{ family: "tiled", tile: 32 }, ["TN"], FOURS],
];

for (const dtype of HALVES) {
  for (const [choice, layouts, sizes] of FAMILIES) {
    for (const layout of layouts) {
      const name = `product ${layout} by ${JSON.stringify(choice)} in ${dtype}`;
      gpuTest(`${name} equals float64 of what it rounds`, async (gpu) => {
        if (!has(gpu, dtype)) return;
        for (const extents of sizes) await checkProduct(gpu, choice, layout, dtype, extents);
      });
    }
  }
  for (const layout of LAYOUTS) {
    const name = `product ${layout} by the software adapter's kernel in ${dtype}`;
    gpuTest(`${name} equals float64 of the rounded operands`, async (gpu) => {
      if (!gpu.info.software || gpu.info.subgroupSize !== 8) return;
      const sizes: Extents[] = [[4, 4, 4], [132, 36, 260], [64, 32, 256], [1028, 20, 132]];
      if (layout === "TN") sizes.push([8, 12, 257]);
      else sizes.push([133, 36, 260], [3, 8, 8200]);
      for (const extents of sizes) {
        await checkProduct(gpu, { family: "software" }, layout, dtype, extents);
      }
    });
  }
}

gpuTest(
  "product with sums of 32 in float16 is nearer to float64 than one in bfloat16",
  async (gpu) => {
    if (!gpu.info.float16) return;
    const choice: Choice = { family: "tiled", tile: 64, float16Sums: true };
    for (const extents of [[4, 4, 4], [68, 132, 100], [132, 68, 516]] as const) { // odd ones: checkKernel
      using _scope = gpu.scope();
      const [m, n, k] = extents, name = `${extents}`;
      const [a, b] = [draw(`a ${name}`, m * k), draw(`b ${name}`, k * n)];
      const expected = productReference("NT", a, b, extents);
      const [left, right] = [gpu.tensor(a, [m * k]), gpu.tensor(b, [k * n])];
      const errorOf = async (precision: HalfDtype, choice: Choice) => {
        const out = gpu.empty([m, n]);
        product("NT", left, right, out, { m, n, k, precision }, choice);
        return relativeError(await gpu.read(out), expected);
      };
      const [error, usual] = [
        await errorOf("float16", choice),
        await errorOf("bfloat16", { family: "small" }),
      ];
      assert(error < 2e-3, `${name}: relative error ${error}`);
      assert(error < usual / 1.5, `${name}: relative error ${error}, in bfloat16 ${usual}`);
    }
  },
);

/** A grouped product in half precision against the same kernel's in float32 of operands that the host has rounded. */
async function checkGrouped(
  gpu: Gpu,
  family: GroupedFamily,
  layout: Layout,
  dtype: HalfDtype,
  [tokens, n, k]: readonly [number, number, number],
): Promise<void> {
  const experts = 4, name = `${family} ${layout} ${dtype} ${tokens} ${n} ${k}`;
  using _scope = gpu.scope();
  const scores = softmax(gpu.tensor(draw(`scores ${name}`, tokens * experts), [tokens, experts]));
  using tape = startTape(gpu);
  if (family === "gemv") tape[Symbol.dispose]();
  const routing = routeTokens(scores, { choices: 1, normalize: true });
  const rows = routing.tile * routing.tiles;
  const a = draw(`a ${name}`, rows * k);
  const b = draw(`b ${name}`, layout === "TN" ? rows * n : experts * n * k);
  const shape = { NT: [experts * n, k], NN: [experts * k, n], TN: [rows, n] }[layout];
  const [exact, out] = [0, 1].map(() => gpu.zeros([layout === "TN" ? experts * k : rows, n]));
  const [left, right] = ([[a, false], [b, layout !== "TN"]] as const).map(([v, isHalf]) =>
    isHalf || family !== "tiled" ? rounded(v, dtype) : v
  );
  const tensors = [gpu.tensor(left!, [rows, k]), gpu.tensor(right!, shape)] as const;
  groupedProduct(layout, ...tensors, exact!, routing, false, "float32", family);
  const packed = layout === "TN" ? gpu.tensor(b, shape) : half(gpu, b, shape, dtype);
  groupedProduct(layout, gpu.tensor(a, [rows, k]), packed, out!, routing, false, dtype, family);
  assertClose(await gpu.read(out!), await gpu.read(exact!), 1e-6, name);
}

const GROUPED: readonly [GroupedFamily, readonly Layout[]][] = [
  ["gemv", ["NT"]],
  ["small", LAYOUTS],
  ["tiled", ["NN"]],
  ["software", LAYOUTS],
];

for (const dtype of HALVES) {
  for (const [family, layouts] of GROUPED) {
    gpuTest(`grouped products by "${family}" round operands to ${dtype}`, async (gpu) => {
      if (!has(gpu, dtype)) return;
      for (const layout of layouts) {
        for (const [n, k] of [[36, 68], [5, 3]] as const) {
          if (family === "software" && gpu.info.subgroupSize !== 8) continue;
          if (family !== "small" && family !== "gemv" && n % 4 > 0) continue;
          await checkGrouped(gpu, family, layout, dtype, [family === "gemv" ? 3 : 130, n, k]);
        }
      }
    });
  }

  everyPathTest(`gradients of a layer in ${dtype} come from rounded operands`, async (gpu) => {
    if (!has(gpu, dtype)) return;
    const [m, n, k] = [9, 20, 12];
    const [x, w, dy] = [draw("x", m * k), draw("w", n * k), draw("dy", m * n)];
    const before = gpu.memory.live;
    {
      using _scope = gpu.scope();
      const input = gpu.tensor(x, [m, k]), weight = gpu.tensor(w, [n, k]);
      weight.half = half(gpu, w, [n, k], dtype);
      input.requiresGrad = weight.requiresGrad = true;
      [input.grad, weight.grad] = [gpu.empty([m, k]), gpu.empty([n, k])];
      using tape = startTape(gpu);
      tape.backward([linear(input, weight)], gpu.tensor(dy, [m, n]));
      const [xr, wr, dyr] = [x, w, dy].map((v) => rounded(v, dtype));
      const dx = productReference("NN", dyr!, wr!, [m, k, n]);
      const dw = productReference("TN", dyr!, xr!, [n, k, m]);
      assertClose(await gpu.read(input.grad), dx, 1e-6, "dx");
      assertClose(await gpu.read(weight.grad), dw, 1e-6, "dw");
    }
    assert(gpu.memory.live === before, `${gpu.memory.live - before} bytes left in use`);
  });

  gpuTest(`rows of a table in ${dtype} are looked up`, async (gpu) => {
    using _scope = gpu.scope();
    for (const width of [8, 7]) {
      const values = draw("table", 9 * width);
      const table = half(gpu, values, [9, width], dtype);
      const y = embedding(table, gpu.tensor(new Uint32Array([8, 0, 3]), [3]));
      const kept = rounded(values, dtype);
      const expected = [8, 0, 3].flatMap((id) => [...kept.subarray(id * width, (id + 1) * width)]);
      assertEquals([...await gpu.read(y)], expected);
    }
  });

  gpuTest(`cross-entropy of a head in ${dtype} loses no small gradients`, async (gpu) => {
    if (!has(gpu, dtype)) return;
    using _scope = gpu.scope();
    const [rows, width, vocabulary, weight] = [70, 16, 300, 1e-7];
    const hidden = gpu.tensor(draw("hidden", rows * width), [rows, width]);
    const values = draw("head", vocabulary * width);
    const targets = Uint32Array.from({ length: rows }, (_, i) => (i * 37) % vocabulary);
    const gradients: Float32Array[][] = [];
    for (const precise of [true, false]) {
      const head = gpu.tensor(values, [vocabulary, width]);
      if (!precise) head.half = half(gpu, values, [vocabulary, width], dtype);
      hidden.requiresGrad = head.requiresGrad = true;
      [hidden.grad, head.grad] = [gpu.empty(hidden.shape), gpu.empty(head.shape)];
      hidden.gradFilled = false;
      using tape = startTape(gpu);
      const loss = crossEntropy(hidden, head, targets, { weight });
      tape.backward([loss], gpu.tensor(new Float32Array([65536]), [1]));
      gradients.push([await gpu.read(hidden.grad), await gpu.read(head.grad)]);
    }
    const [expected, found] = gradients as [Float32Array[], Float32Array[]];
    const tolerance = dtype === "float16" ? 2e-3 : 2e-2;
    found.forEach((g, i) => assertClose(g, expected[i]!, tolerance, `gradient ${i}`));
  });

  gpuTest(`experts in ${dtype} are near those in float32`, async (gpu) => {
    if (!has(gpu, dtype)) return;
    const before = gpu.memory.live;
    const [tokens, width, inner, experts] = [70, 16, 24, 4];
    const read: Float32Array[][] = [];
    for (const precise of [true, false]) {
      using _scope = gpu.scope();
      using tape = startTape(gpu);
      const make = (name: string, shape: readonly [number, number], weight: boolean) => {
        const values = draw(name, shape[0] * shape[1]).map((v) => v / Math.sqrt(shape[1]));
        const tensor = gpu.tensor(values, shape);
        if (weight && !precise) tensor.half = half(gpu, values, shape, dtype);
        tensor.requiresGrad = true;
        tensor.grad = gpu.zeros(shape);
        return tensor;
      };
      const x = make("x", [tokens, width], false);
      const gateUp = make("gate up", [experts * 2 * inner, width], true);
      const down = make("down", [experts * width, inner], true);
      const scores = softmax(gpu.tensor(draw("logits", tokens * experts), [tokens, experts]));
      const routing = routeTokens(scores, { choices: 2, normalize: true });
      const y = expertFeedForward(x, routing, gateUp, down);
      const seed = gpu.tensor(draw("seed", y.size), y.shape);
      const forward = await gpu.read(y);
      tape.backward([y], seed);
      read.push([forward, ...await Promise.all([x, gateUp, down].map((t) => gpu.read(t.grad!)))]);
    }
    const [expected, found] = read as [Float32Array[], Float32Array[]];
    const tolerance = dtype === "float16" ? 1e-3 : 1e-2;
    found.forEach((values, i) => assertClose(values, expected[i]!, tolerance, `tensor ${i}`));
    assert(found[0]!.some((v, i) => v !== expected[0]![i]), "nothing was rounded");
    assertEquals(gpu.memory.live, before, "bytes left in use");
  });
}

gpuTest("operands of different halves are refused", (gpu) => {
  using _scope = gpu.scope();
  const [a, b] = [gpu.zeros([4, 4], "float16"), gpu.zeros([4, 4], "bfloat16")];
  assertThrows(() => matmul(a, b), ShapeError, "float16 and bfloat16");
  assertThrows(() => roundToHalf(a, b), ShapeError, "float16 [4,4]");
  return Promise.resolve();
});
