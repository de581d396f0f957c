import { columnSums } from "./column_sums.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { f32, type Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, reductions, rowLanes } from "./runtime/wgsl.ts";

// `width` counts vectors; `stats` holds mean and 1/σ of each row
const PARAMS = `struct Params { rows: u32, width: u32, eps: f32, accumulate: u32 }`;

function forwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`layer_norm/${size}`, () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;
@group(0) @binding(2) var<storage, read> bias: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(5) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  let n = f32(p.width * ${size}u);
  var sum = T(0.0);
  for (var i = lane; i < p.width; i += ${lanes}u) { sum += x[start + i]; }
  let mean = sumOver(total(sum), lane) / n;
  var squares = T(0.0);
  for (var i = lane; i < p.width; i += ${lanes}u) { let v = x[start + i] - mean; squares += v * v; }
  let r = inverseSqrt(sumOver(total(squares), lane) / n + p.eps);
  if (group < p.rows) {
    if (lane == 0u) { stats[row] = vec2f(mean, r); }
    for (var i = lane; i < p.width; i += ${lanes}u) {
      y[start + i] = weight[i] * ((x[start + i] - mean) * r) + bias[i];
    }
  }`,
      )
    }`;
  });
}

/** dx = r·(g − mean(g) − x̂·mean(g·x̂)) with g = w·dy and x̂ = (x − mean)·r. */
function backwardInputKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`layer_norm_dx/${size}`, () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> weight: array<T>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
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
  let n = f32(p.width * ${size}u);
  let mean = stats[row].x;
  let r = stats[row].y;
  var sum = T(0.0);
  var products = T(0.0);
  for (var i = lane; i < p.width; i += ${lanes}u) {
    let g = weight[i] * dy[start + i];
    sum += g;
    products += g * (x[start + i] - mean);
  }
  let a = sumOver(total(sum), lane) / n;
  let b = sumOver(total(products), lane) * r * r / n;
  if (group < p.rows) {
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let g = r * (weight[i] * dy[start + i] - a - (x[start + i] - mean) * b);
      if (p.accumulate == 1u) { dx[start + i] += g; } else { dx[start + i] = g; }
    }
  }`,
      )
    }`;
  });
}

/**
 * Brings each row to mean 0 and variance 1, then scales and shifts its columns: y = w · (x − mean) / √(var + ε) + b.
 *
 * Ba, Kiros and Hinton, "Layer Normalization", 2016.
 *
 * @param x Rows [..., width].
 * @param weight One factor a column [width].
 * @param bias One number a column, added at the end [width].
 * @param eps ε, added to the variance.
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const { gpu, rows, width } = x;
  for (const [name, { size, shape }] of Object.entries({ weight, bias })) {
    if (size !== width) {
      throw new ShapeError(`layerNorm: a ${name} [${shape}] does not fit rows [${x.shape}].`);
    }
  }
  const v = vectors(width);
  const y = gpu.empty(x.shape);
  const stats = gpu.empty([rows, 2], "float32", "norm scales");
  const params = (accumulate: boolean) => [rows, width / v.size, f32(eps), Number(accumulate)];
  gpu.run(forwardKernel(gpu, v), [x, weight, bias, y, stats], params(false), rows);
  gpu.tape?.record("layer_norm", y, [x, weight, bias], [x, weight, stats], (dy, tape) => {
    if (x.requiresGrad) {
      const { grad, accumulate } = tape.target(x);
      gpu.run(backwardInputKernel(gpu, v), [x, weight, stats, dy, grad], params(accumulate), rows);
    }
    if (weight.requiresGrad) {
      const { grad, accumulate } = tape.target(weight);
      const normed = "(t1[i] - t2[2u * row]) * t2[2u * row + 1u]";
      columnSums("layer_norm_dweight", `t0[i] * ${normed}`, [dy, x, stats], grad, accumulate);
    }
    if (bias.requiresGrad) {
      const { grad, accumulate } = tape.target(bias);
      columnSums("sum", "t0[i]", [dy], grad, accumulate);
    }
  });
  return y;
}
