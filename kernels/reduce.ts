import { scale } from "./elementwise.ts";
import { type RowKernel, runRows } from "./row_kernel.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, reductions, rowLanes, setOrAdd } from "./runtime/wgsl.ts";

const SIZE = 64;
/** Vectors that one workgroup adds up. */
const BLOCK = 4096;

/** What is summed of each element `v`. */
export type Term = "v" | "v * v";

function sumKernel(gpu: Gpu, term: Term, { size, code }: Vectors): Kernel {
  return gpu.kernel(`sum ${term}/${size}`, () => {
    const lanes = rowLanes(gpu.info);
    return `${code}
struct Params { n: u32, at: u32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let start = group * ${BLOCK}u;
  let end = min(start + ${BLOCK}u, p.n);
  var sum = T(0.0);
  for (var i = start + lane; i < end; i += ${lanes}u) { let v = x[i]; sum += ${term}; }
  let all = sumOver(total(sum), lane);
  if (start < p.n && lane == 0u) { sums[p.at + group] = all; }`,
      )
    }`;
  });
}

/**
 * Adds up one term an element of all the tensors together, outside of the tape, in an order that is always the same.
 *
 * @param inputs float32 tensors of any shapes.
 * @param term What is summed.
 * @returns The sum [1].
 */
export function sumOf(inputs: readonly Tensor[], term: Term = "v"): Tensor {
  const { gpu } = inputs[0]!;
  const parts = inputs.map((x) => {
    const v = vectors(x.size);
    return { x, v, n: x.size / v.size, blocks: Math.ceil(x.size / v.size / BLOCK) };
  });
  using scope = gpu.scope();
  const sums = gpu.empty([parts.reduce((all, { blocks }) => all + blocks, 0)]);
  let at = 0;
  for (const { x, v, n, blocks } of parts) {
    gpu.run(sumKernel(gpu, term, v), [x, sums], [n, at], blocks);
    at += blocks;
  }
  return scope.keep(at === 1 ? sums : sumOf([sums]));
}

/** The sum of all elements [1]. */
export function sum(x: Tensor): Tensor {
  const { gpu } = x;
  const y = sumOf([x]);
  gpu.tape?.record("sum", y, [x], [], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    const v = vectors(x.size);
    const kernel = gpu.kernel(`spread/${v.size}`, () =>
      `${v.code}
struct Params { n: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<T>;
@group(0) @binding(2) var<uniform> p: Params;
${
        entry(
          gpu,
          SIZE,
          `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let g = T(dy[0]);
    ${setOrAdd("dx[i]", "g")}
  }`,
        )
      }`);
    const n = x.size / v.size;
    gpu.run(kernel, [dy, grad], [n, Number(accumulate)], Math.ceil(n / SIZE));
  });
  return y;
}

/** The mean of all elements [1]. */
export function mean(x: Tensor): Tensor {
  using scope = x.gpu.scope();
  return scope.keep(scale(sum(x), 1 / x.size));
}

const ARGMAX: RowKernel = {
  name: "argmax",
  reads: ["x: f32"],
  writes: ["y: u32"],
  scalar: true,
  code: (each) => ({
    reduce: `var best = -3.40282346e38;
  var column = p.width - 1u;
  ${each("let v = x[at]; if (v > best) { best = v; column = i; }")}
  let isBest = best == maxOver(best, lane);
  let first = -maxOver(select(-16777216.0, -f32(column), isBest), lane);`,
    write: "if (lane == 0u) { y[row] = min(u32(first), p.width - 1u); }",
  }),
};

/**
 * The column of each row's largest element; the first of equal ones.
 *
 * @param x Rows [..., width] of at most 2²⁴ columns, without NaN.
 * @returns uint32, one a row.
 */
export function argmax(x: Tensor): Tensor {
  const y = x.gpu.empty([x.rows], "uint32", "argmax");
  runRows(ARGMAX, x, [x, y]);
  return y;
}
