import { columnSums } from "./column_sums.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { f32, type Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry, reductions, rowLanes } from "./runtime/wgsl.ts";

const PARAMS = `struct Params { rows: u32, width: u32, eps: f32, accumulate: u32 }`;

function forwardKernel(gpu: Gpu): Kernel {
  return gpu.kernel("rms_norm", () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  var squares = 0.0;
  for (var i = lane; i < p.width; i += ${lanes}u) { let v = x[start + i]; squares += v * v; }
  let r = inverseSqrt(sumOver(squares, lane) / f32(p.width) + p.eps);
  if (group < p.rows) {
    if (lane == 0u) { scale[row] = r; }
    for (var i = lane; i < p.width; i += ${lanes}u) { y[start + i] = weight[i] * (x[start + i] * r); }
  }`,
      )
    }`;
  });
}

/** dx = r·(w·dy − x·r²·mean(w·dy·x)) with r the forward's scale of the row. */
function backwardInputKernel(gpu: Gpu): Kernel {
  return gpu.kernel("rms_norm_dx", () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  var dot = 0.0;
  for (var i = lane; i < p.width; i += ${lanes}u) { dot += weight[i] * dy[start + i] * x[start + i]; }
  let r = scale[row];
  let c = sumOver(dot, lane) * r * r / f32(p.width);
  if (group < p.rows) {
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let g = r * (weight[i] * dy[start + i] - x[start + i] * c);
      if (p.accumulate == 1u) { dx[start + i] += g; } else { dx[start + i] = g; }
    }
  }`,
      )
    }`;
  });
}

/**
 * Divides each row by its root mean square and multiplies it by a weight: y = w · x / √(mean(x²) + ε).
 *
 * Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
 *
 * @param x Rows [..., width].
 * @param weight One factor a column [width].
 * @param eps ε, added to the mean square.
 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const { gpu, rows, width } = x;
  if (weight.size !== width) {
    throw new ShapeError(`rmsNorm: a weight [${weight.shape}] does not fit rows [${x.shape}].`);
  }
  const y = gpu.empty(x.shape);
  const scale = gpu.empty([rows], "float32", "norm scales");
  const params = [rows, width, f32(eps), 0];
  gpu.run(forwardKernel(gpu), [x, weight, y, scale], params, rows);
  gpu.tape?.record("rms_norm", y, [x, weight], [x, weight, scale], (dy, tape) => {
    if (x.requiresGrad) {
      const { grad, accumulate } = tape.target(x);
      const params = [rows, width, f32(eps), Number(accumulate)];
      gpu.run(backwardInputKernel(gpu), [x, weight, scale, dy, grad], params, rows);
    }
    if (weight.requiresGrad) {
      const { grad, accumulate } = tape.target(weight);
      columnSums("rms_norm_dweight", "t0[i] * t1[i] * t2[row]", [dy, x, scale], grad, accumulate);
    }
  });
  return y;
}
