import { activate, type Activation } from "../activation.ts";
import { HALF, type Precision, type Reader, reader } from "../runtime/precision.ts";
import type { Tensor } from "../runtime/tensor.ts";

/**
 * How the operands of C [m, n] lie in memory: `NT` is A [m, k] · B [n, k]ᵀ (a linear layer), `NN` is A [m, k] · B [k, n]
 * (the gradient of its input), `TN` is A [k, m]ᵀ · B [k, n] (the gradient of its weight).
 */
export type Layout = "NT" | "NN" | "TN";

/** An RMSNorm of the left operand, see `rmsNorm`. */
export interface NormOf {
  /** One factor a column [k]. */
  readonly gain: Tensor;
  /** ε, added to the mean square. */
  readonly eps: number;
}

/** What is done with a product before it is stored, in this order. */
export interface Epilogue {
  /** Whether to add to what the result's tensor holds. */
  readonly accumulate?: boolean;
  /** A number for every column [n], to be added. */
  readonly bias?: Tensor;
  /** A matrix [m, n], to be added. */
  readonly residual?: Tensor;
  /** A function of the whole sum. */
  readonly activation?: Activation | undefined;
}

/** The extents of a matrix product, and what is done with it. */
export interface ProductOptions extends Epilogue {
  /** Rows of the result. */
  readonly m: number;
  /** Columns of the result. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** Rows for which the kernel is chosen; its own unless given. A constant keeps a row's bits the same in any company. */
  readonly chosenFor?: number;
  /** To what the operands are rounded; that of an operand kept in half precision unless given. */
  readonly precision?: Precision;
  /**
   * What makes the left operand from the tensor that is given for it, on the way: an RMSNorm of its rows, or `swiglu`,
   * of rows twice as wide. Only products with a weight that has an image take it.
   */
  readonly from?: NormOf | "swiglu" | undefined;
}

/** A matrix product to be computed: out = activation(op(a) · op(b) + what its options name). */
export interface Product extends ProductOptions {
  /** How the operands lie in memory. */
  readonly layout: Layout;
  /** The left operand. */
  readonly a: Tensor;
  /** The right operand. */
  readonly b: Tensor;
  /** Where the result goes. */
  readonly out: Tensor;
  /** To what the operands are rounded. */
  readonly precision: Precision;
}

/** WGSL by which a kernel finds its part in products of many matrices. */
export interface ProductPart {
  /** Names it in the kernel's key. */
  readonly name: string;
  /** Binding 5 where there is one. */
  readonly declarations: string;
  /** Parameters after the others, each with a comma before it. */
  readonly params: string;
  /** Statements that set what the kernel says. */
  readonly code: string;
}

/** How a kernel reads the operands of a product. */
export interface Operands {
  /** Ends the kernel's key. */
  readonly key: string;
  /** Functions that reading needs. */
  readonly code: string;
  /** To what they are rounded. */
  readonly precision: Precision;
  /** The left operand, which is bound as `a`. */
  readonly a: Reader;
  /** The right operand, which is bound as `b`. */
  readonly b: Reader;
}

/** How a kernel reads the operands of a product; those in float32 may be left as they are. */
export function operandsOf(
  { a, b, precision }: Pick<Product, "a" | "b" | "precision">,
  rounded = true,
): Operands {
  const left = reader("a", a.dtype, rounded ? precision : "float32");
  const right = reader("b", b.dtype, rounded ? precision : "float32");
  const isFloat32 = a.dtype === "float32" && b.dtype === "float32";
  const usual = isFloat32 && (precision === "float32" || !rounded);
  return {
    key: usual ? "" : `/${precision}/${a.dtype}/${b.dtype}`,
    code: (usual ? "" : HALF[precision]) + left.code + right.code,
    ...{ precision, a: left, b: right },
  };
}

/** Bits of the parameter that tells a kernel what to add. */
export const ADD = { out: 1, bias: 2, residual: 4 } as const;

/** What a product adds, as bits of `ADD`. */
export function additions({ accumulate, bias, residual }: Epilogue): number {
  return (accumulate ? ADD.out : 0) | (bias ? ADD.bias : 0) | (residual ? ADD.residual : 0);
}

/** The bias and the residual to bind; the left operand stands in for what is missing and is not read. */
export function addends({ a, bias, residual }: Product): [Tensor, Tensor] {
  return [bias ?? a, residual ?? a];
}

/**
 * WGSL of a function `finish` that adds to a product what the parameter `add` names, applies an activation and stores it:
 * the result's element, or four, at `i` in `column`, one of the bias's.
 */
export function finish({ activation }: Epilogue, type: "f32" | "vec4f"): string {
  return `${activate(activation, type)}
fn finish(i: u32, column: u32, product: ${type}) {
  var sum = product;
  if ((p.add & ${ADD.out}u) != 0u) { sum += out[i]; }
  if ((p.add & ${ADD.bias}u) != 0u) { sum += bias[column]; }
  if ((p.add & ${ADD.residual}u) != 0u) { sum += residual[i]; }
  out[i] = activate(sum);
}
`;
}

/** Ends the key of a kernel with `finish`. */
export function endOfKey({ activation }: Epilogue): string {
  return activation ? `/${activation}` : "";
}
