import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry } from "./runtime/wgsl.ts";

/** How YaRN stretches the rotation to contexts longer than those seen in training. */
export interface RopeScaling {
  /** By how much the context grows. */
  readonly factor: number;
  /** Positions seen in training. */
  readonly originalMaxPositions: number;
  /** β of the fastest dimension. */
  readonly betaFast: number;
  /** β of the slowest dimension. */
  readonly betaSlow: number;
}

/** Which columns of packed rows are queries, keys and values: `heads` · D, `kvHeads` · D, `kvHeads` · D. */
export interface HeadLayout {
  /** Heads of the queries, H. */
  readonly heads: number;
  /** Heads of the keys and of the values, H_kv; divides `heads`. */
  readonly kvHeads: number;
  /** Width of a head, D. */
  readonly headDim: number;
}

/** The angle by which each pair of dimensions turns from one position to the next: float32 [D/2]. */
export function ropeFrequencies(
  headDim: number,
  maxPositions: number,
  theta: number,
  scaling?: RopeScaling,
): Float32Array<ArrayBuffer> {
  const f = Math.fround; // as PyTorch rounds: an angle at position 1000 shows a rounding of its frequency
  const half = headDim / 2;
  const frequencies = Float32Array.from(
    { length: half },
    (_, i) => 1 / f(theta ** f(2 * i / headDim)),
  );
  if (!scaling || maxPositions <= scaling.originalMaxPositions) return frequencies;
  const { factor, originalMaxPositions, betaFast, betaSlow } = scaling;
  const found = frequencies.findIndex((w) => f(f(2 * Math.PI) / w) > originalMaxPositions);
  const turning = found < 0 ? half : found;
  return frequencies.map((w, i) => {
    if (i >= turning) return w * f(1 / factor);
    const beta = f(f(betaSlow) + f(f(betaFast - betaSlow) * f(i / Math.max(half - 1, 1))));
    const grown = f(beta * factor);
    return w * f(f(f(grown - beta) + 1) / grown);
  });
}

/**
 * Cosines and sines of the rotary position embedding: float32 [maxPositions, D], in each row D/2 cosines, then D/2 sines.
 *
 * Su et al., "RoFormer", 2021; Peng et al., "YaRN", 2023. Angles are rounded to float32, as in PyTorch.
 *
 * @param headDim D, even.
 * @param maxPositions Positions 0 … maxPositions − 1.
 * @param theta Base of the frequencies θ^(−2i/D).
 * @param scaling YaRN; applies where `maxPositions` exceeds `originalMaxPositions`.
 */
export function ropeTable(
  gpu: Gpu,
  headDim: number,
  maxPositions: number,
  theta: number,
  scaling?: RopeScaling,
): Tensor {
  if (headDim % 2 !== 0) throw new ShapeError(`ropeTable: a head of odd width ${headDim}.`);
  const half = headDim / 2;
  const frequencies = ropeFrequencies(headDim, maxPositions, theta, scaling);
  const table = new Float32Array(maxPositions * headDim);
  for (let position = 0; position < maxPositions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * frequencies[i]!);
      table[position * headDim + i] = Math.cos(angle);
      table[position * headDim + half + i] = Math.sin(angle);
    }
  }
  return gpu.tensor(table, [maxPositions, headDim], "rope table");
}

const SIZE = 64;

/** Turns the pairs (x[i], x[i + D/2]) of every rotated head by the position's angles times `sign`. */
function ropeKernel(gpu: Gpu, lanes: number): Kernel {
  return gpu.kernel(`rope/${lanes}`, () => `
alias T = ${lanes === 4 ? "vec4f" : "f32"};
struct Params { rows: u32, heads: u32, half: u32, stride: u32, positions: u32, back: u32 }
@group(0) @binding(0) var<storage, read_write> x: array<T>;
@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let n = group * ${SIZE}u + lane;
  let row = n / p.half;
  if (row < p.rows) {
    let i = n % p.half;
    let angle = min(positions[row], p.positions - 1u) * 2u * p.half + i;
    let c = table[angle];
    var s = table[angle + p.half];
    if (p.back == 1u) { s = -s; }
    for (var head = 0u; head < p.heads; head++) {
      let at = row * p.stride + head * 2u * p.half + i;
      let a = x[at];
      let b = x[at + p.half];
      x[at] = a * c - b * s;
      x[at + p.half] = b * c + a * s;
    }
  }`,
    )
  }`);
}

/** Turns queries and keys in place, backward when `back`. */
function rotate(
  x: Tensor,
  table: Tensor,
  positions: Tensor,
  { heads, kvHeads, headDim }: HeadLayout,
  back: boolean,
): void {
  const { gpu, rows, width } = x;
  const lanes = headDim % 8 === 0 ? 4 : 1;
  const half = headDim / 2 / lanes;
  const turned = heads + kvHeads;
  const params = [rows, turned, half, width / lanes, table.shape[0]!, Number(back)];
  const workgroups = Math.ceil(rows * half / SIZE);
  gpu.run(ropeKernel(gpu, lanes), [x, table, positions], params, workgroups);
}

/**
 * Rotary position embedding: turns the queries and keys of packed rows by the angles of their positions, pairing
 * dimension i with i + D/2. It works in place: `qkv` is turned afterwards, so nothing may still need it as it was.
 *
 * @param qkv Packed queries, keys and values [T, (H + 2·H_kv)·D].
 * @param table From `ropeTable` [maxPositions, D]; positions beyond it count as its last.
 * @param positions uint32 [T].
 * @returns The same elements as another tensor, through which gradients pass.
 * @throws {ShapeError} when the shapes do not fit together.
 */
export function rope(
  qkv: Tensor,
  table: Tensor,
  positions: Tensor,
  layout: HeadLayout,
): Tensor {
  const { heads, kvHeads, headDim } = layout;
  if (qkv.width !== (heads + 2 * kvHeads) * headDim || headDim % 2 !== 0) {
    throw new ShapeError(
      `rope: rows [${qkv.shape}] do not hold ${heads} queries, ${kvHeads} keys and values of width ${headDim}.`,
    );
  }
  if (table.width !== headDim || positions.size !== qkv.rows) {
    throw new ShapeError(
      `rope: a table [${table.shape}] and positions [${positions.shape}] do not fit rows [${qkv.shape}] of heads of width ${headDim}.`,
    );
  }
  const { gpu } = qkv;
  rotate(qkv, table, positions, layout, false);
  const y = qkv.view(qkv.shape);
  gpu.tape?.record("rope", y, [qkv], [table, positions], (dy, tape) => {
    tape.accumulateChanged(qkv, dy, (dx) => rotate(dx, table, positions, layout, true));
  });
  return y;
}
