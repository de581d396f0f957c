import { columnSums } from "./column_sums.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { f32, type Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, reductions, rowLanes } from "./runtime/wgsl.ts";

// `width` counts vectors
const PARAMS = `struct Params { rows: u32, width: u32, eps: f32, accumulate: u32 }`;

function forwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`rms_norm/${size}`, () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  var squares = T(0.0);
  for (var i = lane; i < p.width; i += ${lanes}u) { let v = x[start + i]; squares += v * v; }
  let r = inverseSqrt(sumOver(total(squares), lane) / f32(p.width * ${size}u) + p.eps);
  if (group < p.rows) {
    if (lane == 0u) { scale[row] = r; }
    for (var i = lane; i < p.width; i += ${lanes}u) { y[start + i] = weight[i] * (x[start + i] * r); }
  }`,
      )
    }`;
  });
}

/** dx = r·(w·dy − x·r²·mean(w·dy·x)) with r the forward's scale of the row. */
function backwardInputKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`rms_norm_dx/${size}`, () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<T>;
@group(0) @binding(4) var<storage, read_write> dx: array<T>;
@group(0) @binding(5) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  var products = T(0.0);
  for (var i = lane; i < p.width; i += ${lanes}u) {
    products += weight[i] * dy[start + i] * x[start + i];
  }
  let r = scale[row];
  let c = sumOver(total(products), lane) * r * r / f32(p.width * ${size}u);
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
  const v = vectors(width);
  const y = gpu.empty(x.shape);
  const scale = gpu.empty([rows], "float32", "norm scales");
  const params = (accumulate: boolean) => [rows, width / v.size, f32(eps), Number(accumulate)];
  gpu.run(forwardKernel(gpu, v), [x, weight, y, scale], params(false), rows);
  gpu.tape?.record("rms_norm", y, [x, weight], [x, weight, scale], (dy, tape) => {
    if (x.requiresGrad) {
      const { grad, accumulate } = tape.target(x);
      gpu.run(backwardInputKernel(gpu, v), [x, weight, scale, dy, grad], params(accumulate), rows);
    }
    if (weight.requiresGrad) {
      const { grad, accumulate } = tape.target(weight);
      columnSums("rms_norm_dweight", "t0[i] * t1[i] * t2[row]", [dy, x, scale], grad, accumulate);
    }
  });
  return y;
}
