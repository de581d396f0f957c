import type { Gpu } from "../runtime/gpu.ts";
import type { Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { type Vectors, vectors } from "../runtime/vectors.ts";
import { entry, reductions, rowLanes } from "../runtime/wgsl.ts";
import type { Routing } from "./routing.ts";

const SIGMOID = "fn sigmoid(v: T) -> T { return 1.0 / (1.0 + exp(min(-v, T(80.0)))); }";

/**
 * The gated activation of sorted rows, times the weight of their choice: w · silu(gate) · up. Padding gets zeros.
 *
 * The down projection has no bias, so that weighting its input is weighting its output.
 *
 * @param x Rows [P, 2F]: the gate's F numbers, then the up projection's.
 * @returns [P, F]
 */
export function weightedSwiglu(x: Tensor, { rows, weights }: Routing): Tensor {
  const { gpu } = x;
  const width = x.width / 2;
  const v = vectors(width);
  const y = gpu.empty([x.rows, width]);
  const params = [x.rows, width / v.size];
  gpu.run(forwardKernel(gpu, v), [x, rows, weights, y], params, x.rows);
  return y;
}

/**
 * The way back through `weightedSwiglu`, outside of the tape.
 *
 * @param x What went in [P, 2F].
 * @param dy The gradient of what came out [P, F]; it is overwritten with what came out.
 * @param dx Where the gradient of `x` goes [P, 2F].
 * @param dWeights Where the gradients of the weights go [T, k].
 * @param accumulate Whether to add to what `dWeights` holds.
 */
export function weightedSwigluBackward(
  x: Tensor,
  dy: Tensor,
  { rows, weights }: Routing,
  dx: Tensor,
  dWeights: Tensor,
  accumulate: boolean,
): void {
  const { gpu } = x;
  const v = vectors(dy.width);
  const params = [x.rows, dy.width / v.size, Number(accumulate)];
  gpu.run(backwardKernel(gpu, v), [x, rows, weights, dy, dx, dWeights], params, x.rows);
}

function forwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  const lanes = rowLanes(gpu.info);
  return gpu.kernel(`experts_swiglu/${size}`, () =>
    `${code}
${SIGMOID}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
struct Params { rows: u32, width: u32 }
@group(0) @binding(4) var<uniform> p: Params;
${
      entry(
        gpu,
        lanes,
        `if (group < p.rows) {
    let row = rows[group];
    let w = select(0.0, weights[max(row, 1u) - 1u], row > 0u);
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let at = group * p.width * 2u + i;
      let g = x[at];
      y[group * p.width + i] = w * g * sigmoid(g) * x[at + p.width];
    }
  }`,
      )
    }`);
}

/** With s = σ(g), h = g·s·up: dw = Σ dy·h, dgate = w·dy·up·s·(1 + g·(1 − s)), dup = w·dy·g·s. */
function backwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  const lanes = rowLanes(gpu.info);
  return gpu.kernel(`experts_swiglu_dx/${size}`, () =>
    `${code}
${SIGMOID}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> dy: array<T>;
@group(0) @binding(4) var<storage, read_write> dx: array<T>;
@group(0) @binding(5) var<storage, read_write> dweights: array<f32>;
struct Params { rows: u32, width: u32, accumulate: u32 }
@group(0) @binding(6) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let r = min(group, p.rows - 1u);
  let row = rows[r];
  let choice = max(row, 1u) - 1u;
  let w = select(0.0, weights[choice], row > 0u);
  var products = T(0.0);
  if (group < p.rows) {
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let at = r * p.width * 2u + i;
      let g = x[at];
      let up = x[at + p.width];
      let d = dy[r * p.width + i];
      let s = sigmoid(g);
      let h = g * s * up;
      products += d * h;
      dy[r * p.width + i] = w * h;
      dx[at] = w * d * up * s * (1.0 + g * (1.0 - s));
      dx[at + p.width] = w * d * g * s;
    }
  }
  var dw = sumOver(total(products), lane);
  if (group < p.rows && row > 0u && lane == 0u) {
    if (p.accumulate == 1u) { dw += dweights[choice]; }
    dweights[choice] = dw;
  }`,
      )
    }`);
}
