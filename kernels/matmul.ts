import { type Activation, activation as activationOf } from "./activation.ts";
import { columnSums } from "./column_sums.ts";
import { type Choice, chooseKernel, runChoice, takesImage } from "./matmul/choose.ts";
import type { Tile, Tiling } from "./matmul/tiled.ts";
import type { Epilogue, Layout, NormOf, ProductOptions } from "./matmul/problem.ts";
import { rmsNorm } from "./rms_norm.ts";
import { ShapeError } from "./runtime/errors.ts";
import { operandOf, precisionOf } from "./runtime/precision.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { swiglu } from "./swiglu.ts";

export type { Choice, Epilogue, Layout, NormOf, ProductOptions, Tile, Tiling };

/**
 * Computes a matrix product into a tensor, outside of the tape.
 *
 * @param layout How the operands lie in memory.
 * @param a The left operand, m · k elements. An operand's copy in half precision is read in its place.
 * @param b The right operand, k · n elements.
 * @param out Where the result [m, n] goes. It must share no buffer with what is read.
 * @param options The extents, and what is added to the product.
 * @param choice The kernel to use, for tests and benchmarks; chosen by the extents unless given.
 */
export function product(
  layout: Layout,
  a: Tensor,
  b: Tensor,
  out: Tensor,
  options: ProductOptions,
  choice?: Choice,
): void {
  const { m, n, k, bias, residual, from } = options;
  const fits = a.size === m * k * (from === "swiglu" ? 2 : 1) && b.size === k * n &&
    out.size === m * n &&
    (!bias || bias.size === n) && (!residual || residual.size === m * n);
  if (!fits) {
    const added = [bias && ` + [${bias.shape}]`, residual && ` + [${residual.shape}]`];
    throw new ShapeError(
      `A product ${layout} with m = ${m}, n = ${n}, k = ${k} cannot be ` +
        `[${a.shape}] · [${b.shape}]${added.filter(Boolean).join("")} = [${out.shape}].`,
    );
  }
  const { precision = precisionOf(a, b) } = options;
  const problem = { layout, out, ...options, a: operandOf(a), b: operandOf(b), precision };
  runChoice(choice ?? chooseKernel(problem), problem);
}

/** What `linear` does before and after its product. */
export interface LinearOptions {
  /** One number an output column [n]. */
  readonly bias?: Tensor;
  /** A tensor of the output's shape, such as the residual stream. */
  readonly residual?: Tensor;
  /** Applied to the product with bias and residual, in the same kernel where no gradient will need its input. */
  readonly activation?: Activation | undefined;
  /** Rows for which the kernel is chosen; those of x unless given. A constant keeps a row's bits the same in any company. */
  readonly chosenFor?: number;
  /**
   * What x is made from what is given for it: an RMSNorm, or `swiglu`. The same as calling it before, in one kernel where
   * that pays.
   */
  readonly from?: NormOf | "swiglu" | undefined;
}

/**
 * A linear layer: y = activation(x · Wᵀ + bias + residual).
 *
 * @param x Rows [..., k], or with `from: "swiglu"` [..., 2k].
 * @param weight W [n, k], as PyTorch stores it.
 * @param options A bias [n] and a residual [..., n] to be added, what is done to x before and to the sum after.
 * @returns [..., n]
 *
 * ```ts ignore
 * const h = linear(swiglu(linear(x, gateUp)), down, { residual: x });
 * ```
 */
export function linear(x: Tensor, weight: Tensor, options: LinearOptions = {}): Tensor {
  const { bias, residual, activation, chosenFor, from } = options;
  const [n = 0, k = 0] = weight.shape;
  if (weight.shape.length !== 2 || x.width !== (from === "swiglu" ? 2 * k : k)) {
    throw new ShapeError(`linear: a weight [${weight.shape}] does not fit rows [${x.shape}].`);
  }
  const few = { layout: "NT", b: operandOf(weight), m: chosenFor ?? x.rows } as const;
  if (from && (x.gpu.tape || !takesImage(few))) {
    using scope = x.gpu.scope();
    const made = from === "swiglu" ? swiglu(x) : rmsNorm(x, from.gain, from.eps);
    return scope.keep(linear(made, weight, { ...options, from: undefined }));
  }
  if (activation && x.gpu.tape && [x, weight, bias, residual].some((t) => t?.requiresGrad)) {
    using scope = x.gpu.scope();
    const sum = linear(x, weight, { ...options, activation: undefined });
    return scope.keep(activationOf(sum, activation));
  }
  const shape = [...x.shape.slice(0, -1), n];
  if (bias && bias.size !== n) {
    throw new ShapeError(`linear: a bias [${bias.shape}] does not fit a weight [${weight.shape}].`);
  }
  if (residual && residual.shape.join() !== shape.join()) {
    throw new ShapeError(`linear: a residual [${residual.shape}] does not fit [${shape}].`);
  }
  return multiply("NT", x, weight, shape, { ...options, m: x.rows, n, k });
}

/**
 * The product of two matrices.
 *
 * @param a [m, k], or [k, m] for `TN`.
 * @param b [k, n], or [n, k] for `NT`.
 * @param layout Which of them is transposed.
 * @returns [m, n]
 */
export function matmul(a: Tensor, b: Tensor, layout: Layout = "NN"): Tensor {
  const [a0 = 0, a1 = 0] = a.shape;
  const [b0 = 0, b1 = 0] = b.shape;
  const [m, k] = layout === "TN" ? [a1, a0] : [a0, a1];
  const [n, depth] = layout === "NT" ? [b0, b1] : [b1, b0];
  if (a.shape.length !== 2 || b.shape.length !== 2 || k !== depth) {
    throw new ShapeError(`matmul: [${a.shape}] and [${b.shape}] do not fit as ${layout}.`);
  }
  return multiply(layout, a, b, [m, n], { m, n, k });
}

function multiply(
  layout: Layout,
  a: Tensor,
  b: Tensor,
  shape: readonly number[],
  options: ProductOptions,
): Tensor {
  const { gpu } = a;
  const { bias, residual } = options;
  const y = gpu.empty(shape);
  product(layout, a, b, y, options);
  const inputs = [a, b, bias, residual].filter((input) => input !== undefined);
  const precision = precisionOf(a, b);
  const saved = [
    a.requiresGrad ? operandOf(b) : undefined,
    b.requiresGrad ? operandOf(a) : undefined,
  ]
    .filter((input) => input !== undefined);
  gpu.tape?.record("matmul", y, inputs, saved, (dy, tape) => {
    const gradients = gradientProducts(layout, a, b, dy, options);
    for (const { of, layout, left, right, m, n, k } of gradients) {
      if (!of.requiresGrad) continue;
      const { grad, accumulate } = tape.target(of);
      product(layout, left, right, grad, { m, n, k, accumulate, precision });
    }
    if (bias?.requiresGrad) {
      const { grad, accumulate } = tape.target(bias);
      columnSums("sum", "t0[i]", [dy], grad, accumulate);
    }
    if (residual) tape.accumulate(residual, dy);
  });
  return y;
}

interface GradientProduct {
  of: Tensor;
  layout: Layout;
  left: Tensor;
  right: Tensor;
  m: number;
  n: number;
  k: number;
}

/** For C = A·B: dA = dC·Bᵀ and dB = Aᵀ·dC, transposed as the operands are. */
function gradientProducts(
  layout: Layout,
  a: Tensor,
  b: Tensor,
  dy: Tensor,
  { m, n, k }: ProductOptions,
): GradientProduct[] {
  switch (layout) {
    case "NT":
      return [
        { of: a, layout: "NN", left: dy, right: b, m, n: k, k: n },
        { of: b, layout: "TN", left: dy, right: a, m: n, n: k, k: m },
      ];
    case "NN":
      return [
        { of: a, layout: "NT", left: dy, right: b, m, n: k, k: n },
        { of: b, layout: "TN", left: a, right: dy, m: k, n, k: m },
      ];
    case "TN":
      return [
        { of: a, layout: "NT", left: b, right: dy, m: k, n: m, k: n },
        { of: b, layout: "NN", left: a, right: dy, m: k, n, k: m },
      ];
  }
}
