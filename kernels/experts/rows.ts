import type { Gpu } from "../runtime/gpu.ts";
import type { Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { type Vectors, vectors } from "../runtime/vectors.ts";
import { entry, rowLanes } from "../runtime/wgsl.ts";
import type { Routing } from "./routing.ts";

/** Copies the tokens' rows [T, width] to where their experts find them [P, width]; padding gets zeros. */
export function sortRows(x: Tensor, { rows, choices }: Routing): Tensor {
  const { gpu, width } = x;
  const v = vectors(width);
  const y = gpu.empty([rows.size, width], "float32", "rows by expert");
  const params = [rows.size, width / v.size, choices];
  gpu.run(sortKernel(gpu, v), [x, rows, y], params, rows.size);
  return y;
}

/**
 * Adds the rows of each token's choices [P, width], in the order of its choices.
 *
 * @param out Where the sums go [T, width].
 * @param residual What is added to them [T, width].
 * @param accumulate Whether to add to what `out` holds.
 */
export function sumChoices(
  y: Tensor,
  { slots, choices, tokens }: Routing,
  out: Tensor,
  residual?: Tensor,
  accumulate = false,
): void {
  const { gpu, width } = y;
  const v = vectors(width);
  const add = Number(accumulate) | (residual ? 2 : 0);
  const params = [tokens, width / v.size, choices, add];
  gpu.run(sumKernel(gpu, v), [y, slots, residual ?? y, out], params, tokens);
}

function sortKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  const lanes = rowLanes(gpu.info);
  return gpu.kernel(`experts_sort_rows/${size}`, () =>
    `${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
struct Params { rows: u32, width: u32, choices: u32 }
@group(0) @binding(3) var<uniform> p: Params;
${
      entry(
        gpu,
        lanes,
        `if (group < p.rows) {
    let row = rows[group];
    let start = (max(row, 1u) - 1u) / p.choices * p.width;
    for (var i = lane; i < p.width; i += ${lanes}u) {
      y[group * p.width + i] = select(T(0.0), x[start + i], row > 0u);
    }
  }`,
      )
    }`);
}

function sumKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  const lanes = rowLanes(gpu.info);
  return gpu.kernel(`experts_sum_choices/${size}`, () =>
    `${code}
@group(0) @binding(0) var<storage, read> y: array<T>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> residual: array<T>;
@group(0) @binding(3) var<storage, read_write> out: array<T>;
struct Params { tokens: u32, width: u32, choices: u32, add: u32 }
@group(0) @binding(4) var<uniform> p: Params;
${
      entry(
        gpu,
        lanes,
        `if (group < p.tokens) {
    for (var i = lane; i < p.width; i += ${lanes}u) {
      var sum = T(0.0);
      for (var j = 0u; j < p.choices; j++) {
        sum += y[slots[group * p.choices + j] * p.width + i];
      }
      let o = group * p.width + i;
      if ((p.add & 1u) != 0u) { sum += out[o]; }
      if ((p.add & 2u) != 0u) { sum += residual[o]; }
      out[o] = sum;
    }
  }`,
      )
    }`);
}
