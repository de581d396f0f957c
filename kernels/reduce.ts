import { scale } from "./elementwise.ts";
import { type RowKernel, runRows } from "./row_kernel.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { type Kernel, roundUp } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, range, reductions, rowLanes, setOrAdd } from "./runtime/wgsl.ts";

const SIZE = 64;

/** What is summed of each element `v`. */
export type Term = "v" | "v * v";

/** How a sum is divided. */
interface Division {
  /** Invocations of a workgroup. */
  readonly lanes: number;
  /** Loads that each has under way at a time. */
  readonly ahead: number;
  /** Vectors that one workgroup adds up. */
  readonly block: number;
}

/** On a graphics card into at most a thousand parts, so that a second sum is the last. */
function divisionOf({ info }: Gpu, n: number): Division {
  if (info.software) return { lanes: rowLanes(info), ahead: 1, block: 4096 };
  return { lanes: 256, ahead: 8, block: roundUp(Math.ceil(n / 1024), 2048) };
}

function sumKernel(gpu: Gpu, term: Term, { size, code }: Vectors, division: Division): Kernel {
  const { lanes, ahead } = division;
  return gpu.kernel(`sum ${term}/${size}`, () => {
    const terms = range(ahead).map((k) => `term(x[i + ${k * lanes}u])`);
    return `${code}
struct Params { n: u32, block: u32, at: u32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;
fn term(v: T) -> T { return ${term}; }
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let start = group * p.block;
  let end = min(start + p.block, p.n);
  var sum = T(0.0);
  var i = start + lane;
  ${
          ahead > 1
            ? `for (; i + ${(ahead - 1) * lanes}u < end; i += ${ahead * lanes}u) {
    sum += ${terms.join(" + ")};
  }`
            : ""
        }
  for (; i < end; i += ${lanes}u) { sum += term(x[i]); }
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
    const n = x.size / v.size;
    const division = divisionOf(gpu, n);
    return { x, v, n, division, blocks: Math.ceil(n / division.block) };
  });
  using scope = gpu.scope();
  const sums = gpu.empty([parts.reduce((all, { blocks }) => all + blocks, 0)]);
  let at = 0;
  for (const { x, v, n, division, blocks } of parts) {
    gpu.run(sumKernel(gpu, term, v, division), [x, sums], [n, division.block, at], blocks);
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
  held: ["x"],
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
