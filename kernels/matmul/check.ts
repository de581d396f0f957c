import { roundToHalf } from "../half.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { isHalf, type Precision } from "../runtime/precision.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { type Choice, type ProductShape, runChoice, takes } from "./choose.ts";
import type { Layout } from "./problem.ts";

/** A random operand: its numbers, and the same on the device. */
type Operand = [Float32Array<ArrayBuffer>, Tensor];

/** Random operands of a product. In half precision the right one is kept in it, if it may be a weight. */
export function randomOperands(
  gpu: Gpu,
  { layout, m, n, k, precision }: ProductShape,
  random: () => number,
): [Operand, Operand] {
  const [a, b] = [numbers(m * k, precision, random), numbers(k * n, precision, random)];
  const onDevice = [gpu.tensor(a, [m * k]), gpu.tensor(b, [k * n])] as const;
  if (!isHalf(precision) || layout === "TN") return [[a, onDevice[0]], [b, onDevice[1]]];
  const half = gpu.empty([k * n], precision);
  roundToHalf(onDevice[1], half);
  return [[a, onDevice[0]], [b, half]];
}

/** Numbers between −1 and 1 of which half precision, if it is that, keeps all digits. */
function numbers(
  length: number,
  precision: Precision,
  random: () => number,
): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length }, () => {
    const x = 2 * random() - 1;
    return isHalf(precision) ? Math.round(64 * x) / 64 : x;
  });
}

/** A row of a product, in float64. */
export function rowOfProduct(
  a: Float32Array,
  b: Float32Array,
  { layout, m, n, k }: ProductShape,
  row: number,
): Float64Array {
  const sums = new Float64Array(n);
  for (let step = 0; step < k; step++) {
    const left = layout === "TN" ? a[step * m + row]! : a[row * k + step]!;
    for (let column = 0; column < n; column++) {
      sums[column]! += left * (layout === "NT" ? b[column * k + step]! : b[step * n + column]!);
    }
  }
  return sums;
}

/** A product of random operands, to be computed by several kernels. */
export interface Trial {
  /** Where the result goes. */
  readonly out: Tensor;
  /** Rows of it that are the product's. */
  readonly rows: number;
  /** Computes it. */
  run(choice: Choice, accumulate?: boolean): void;
  /** A row of it in float64. */
  row(i: number): Float64Array;
}

/** One of two matrices. */
export function productTrial(gpu: Gpu, shape: ProductShape, random: () => number): Trial {
  const { m, n } = shape;
  const [[hostA, a], [hostB, b]] = randomOperands(gpu, shape, random);
  const out = gpu.empty([m, n]);
  return {
    out,
    rows: m,
    run: (choice, accumulate = false) => runChoice(choice, { ...shape, a, b, out, accumulate }),
    row: (i) => rowOfProduct(hostA, hostB, shape, i),
  };
}

/** How far what a kernel computed is from some rows of float64, times a number. */
export async function trialError(
  { out }: Trial,
  expected: ReadonlyMap<number, Float64Array>,
  times = 1,
): Promise<number> {
  const result = await out.gpu.read(out);
  const error = new RelativeError();
  for (const [i, row] of expected) {
    row.forEach((x, column) => error.add(result[i * out.width + column]!, times * x));
  }
  return error.value;
}

/** ‖a − b‖ / ‖b‖ of numbers that are taken in one after another. */
export class RelativeError {
  #error = 0;
  #size = 0;

  /** Takes in a number and what it should be. */
  add(value: number, expected: number): void {
    this.#error += (value - expected) ** 2;
    this.#size += expected ** 2;
  }

  /** The error so far. */
  get value(): number {
    return Math.sqrt(this.#error / this.#size);
  }
}

/** The largest relative error of a kernel's sums: 1e-5 in float32; of parts in float16, which are off by 9e-4, 2e-3. */
export function toleranceOf(choice: Choice): number {
  return choice.family === "tiled" && choice.float16Sums ? 2e-3 : 1e-5;
}

/** What is wrong with a kernel's product that is so far off, or nothing. */
export function faultOf(
  choice: Choice,
  { layout, m, n, k }: ProductShape,
  error: number,
): string | undefined {
  if (error <= toleranceOf(choice)) return undefined; // which is not so for NaN
  return `${layout} ${m} × ${n} × ${k} is off by ${error.toExponential(1)}`;
}

/** All of them. */
export const LAYOUTS: readonly Layout[] = ["NT", "NN", "TN"];

/** Odd and even m, n and k, up to several tiles and steps of a kernel, which is tried on those that it takes. */
const EXTENTS: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [3, 17, 5],
  [33, 65, 63],
  [7, 65, 68],
  [133, 68, 260],
  [132, 68, 131],
];

/**
 * Compares a kernel with float64 in all layouts that it takes, bare and with all that can be added to a product.
 *
 * @param random Numbers between 0 and 1.
 * @returns What is wrong, or nothing.
 */
export async function checkKernel(
  gpu: Gpu,
  choice: Choice,
  precision: Precision,
  random: () => number,
): Promise<string | undefined> {
  for (const layout of LAYOUTS) {
    for (const [m, n, k] of EXTENTS) {
      const shape = { layout, m, n, k, precision };
      if (!takes(gpu, choice, shape)) continue;
      const fault = faultOf(choice, shape, await errorOf(gpu, choice, shape, random));
      if (fault) return fault;
    }
  }
  return undefined;
}

async function errorOf(
  gpu: Gpu,
  choice: Choice,
  shape: ProductShape,
  random: () => number,
): Promise<number> {
  using _scope = gpu.scope();
  const { m, n } = shape;
  const [[hostA, a], [hostB, b]] = randomOperands(gpu, shape, random);
  const added = [n, m * n, m * n].map((size) => numbers(size, "float32", random));
  const [bias, residual, sum] = added.map((x) => gpu.tensor(x, [x.length]));
  const bare = gpu.empty([m, n]);
  runChoice(choice, { ...shape, a, b, out: bare });
  runChoice(choice, { ...shape, a, b, out: sum!, bias, residual, accumulate: true });
  const [bares, sums] = [await gpu.read(bare), await gpu.read(sum!)];
  const error = new RelativeError();
  for (let row = 0; row < m; row++) {
    rowOfProduct(hostA, hostB, shape, row).forEach((product, column) => {
      const i = row * n + column;
      error.add(bares[i]!, product);
      error.add(sums[i]!, product + added[0]![column]! + added[1]![i]! + added[2]![i]!);
    });
  }
  return error.value;
}
