import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry, reductions, rowLanes } from "./runtime/wgsl.ts";

const PARAMS = `struct Params { rows: u32, width: u32, accumulate: u32 }`;

function forwardKernel(gpu: Gpu): Kernel {
  return gpu.kernel("softmax", () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let start = min(group, p.rows - 1u) * p.width;
  var most = -3.40282346e38;
  for (var i = lane; i < p.width; i += ${lanes}u) { most = max(most, x[start + i]); }
  let top = maxOver(most, lane);
  var sum = 0.0;
  for (var i = lane; i < p.width; i += ${lanes}u) { sum += exp(x[start + i] - top); }
  let r = 1.0 / sumOver(sum, lane);
  if (group < p.rows) {
    for (var i = lane; i < p.width; i += ${lanes}u) { y[start + i] = exp(x[start + i] - top) * r; }
  }`,
      )
    }`;
  });
}

/** dx = y·(dy − Σ y·dy). */
function backwardKernel(gpu: Gpu): Kernel {
  return gpu.kernel("softmax_dx", () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let start = min(group, p.rows - 1u) * p.width;
  var dot = 0.0;
  for (var i = lane; i < p.width; i += ${lanes}u) { dot += y[start + i] * dy[start + i]; }
  let c = sumOver(dot, lane);
  if (group < p.rows) {
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let g = y[start + i] * (dy[start + i] - c);
      if (p.accumulate == 1u) { dx[start + i] += g; } else { dx[start + i] = g; }
    }
  }`,
      )
    }`;
  });
}

/**
 * The softmax of each row: y = exp(x) / Σ exp(x), with the row's largest element subtracted first.
 *
 * @param x Rows [..., width].
 */
export function softmax(x: Tensor): Tensor {
  const { gpu, rows, width } = x;
  const y = gpu.empty(x.shape);
  gpu.run(forwardKernel(gpu), [x, y], [rows, width, 0], rows);
  gpu.tape?.record("softmax", y, [x], [y], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    gpu.run(backwardKernel(gpu), [y, dy, grad], [rows, width, Number(accumulate)], rows);
  });
  return y;
}
