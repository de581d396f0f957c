import type { Random } from "./random.ts";

/** How a parameter's values are drawn when no weights are loaded: uniform in ±`uniform`, or all `constant`. */
export type Initial = { uniform: number } | { constant: number };

/** One tensor in a weight file: some rows of a parameter. */
export interface ParameterPart {
  /** Its name in weight files. */
  readonly name: string;
  /** Its shape in weight files. */
  readonly shape: readonly number[];
  /** How it is drawn anew. */
  readonly initial: Initial;
}

/**
 * A parameter of a model: one tensor on the device, made of one or more tensors of a weight file below each other,
 * so that one matrix product serves them all.
 */
export interface ParameterSpec {
  /** Its name in the model. */
  readonly name: string;
  /** Its shape. */
  readonly shape: readonly number[];
  /** What it consists of, from the first row to the last. */
  readonly parts: readonly ParameterPart[];
  /** Whether it is an operand of matrix products, which may be in half precision. */
  readonly operand?: boolean;
}

/** A parameter that is a single tensor of the weight file. */
export function parameter(name: string, shape: readonly number[], initial: Initial): ParameterSpec {
  return { name, shape, parts: [{ name, shape, initial }] };
}

/** The weight of a linear layer. */
export function linearWeight(name: string, outputs: number, inputs: number): ParameterSpec {
  return { ...parameter(name, [outputs, inputs], linearInitial(inputs)), operand: true };
}

/** Several linear layers of one input as one parameter, their weights below each other, each with its rows. */
export function stacked(
  name: string,
  inputs: number,
  parts: readonly [name: string, rows: number][],
): ParameterSpec {
  const initial = linearInitial(inputs);
  const rows = parts.reduce((sum, [, n]) => sum + n, 0);
  return {
    name,
    shape: [rows, inputs],
    operand: true,
    parts: parts.map(([part, n]) => ({ name: part, shape: [n, inputs], initial })),
  };
}

/** The initial scale of a linear layer's weight and bias, as PyTorch draws them: ±1/√inputs. */
export function linearInitial(inputs: number): Initial {
  return { uniform: 1 / Math.sqrt(inputs) };
}

/** Draws `count` values as `initial` says. */
export function drawInitial(
  initial: Initial,
  count: number,
  random: Random,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  if ("constant" in initial) return values.fill(initial.constant);
  return values.map(() => (2 * random.float() - 1) * initial.uniform);
}
