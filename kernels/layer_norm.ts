import { columnSums } from "./column_sums.ts";
import { type RowKernel, runRows } from "./row_kernel.ts";
import { ShapeError } from "./runtime/errors.ts";
import { f32 } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { setOrAdd } from "./runtime/wgsl.ts";

// `stats` holds mean and 1/σ of each row
const FORWARD: RowKernel = {
  name: "layer_norm",
  reads: ["x: T", "weight: T", "bias: T"],
  writes: ["y: T", "stats: vec2f"],
  params: ["eps: f32"],
  held: ["x"],
  code: (each) => ({
    reduce: `var sum = T(0.0);
  ${each("sum += x[at];")}
  let mean = sumOver(total(sum), lane) / n;
  var squares = T(0.0);
  ${each("let v = x[at] - mean; squares += v * v;")}
  let r = inverseSqrt(sumOver(total(squares), lane) / n + p.eps);`,
    write: `if (lane == 0u) { stats[row] = vec2f(mean, r); }
    ${each("y[at] = weight[i] * ((x[at] - mean) * r) + bias[i];")}`,
  }),
};

/** dx = r·(g − mean(g) − x̂·mean(g·x̂)) with g = w·dy and x̂ = (x − mean)·r. */
const BACKWARD_INPUT: RowKernel = {
  name: "layer_norm_dx",
  reads: ["x: T", "weight: T", "stats: vec2f", "dy: T"],
  writes: ["dx: T"],
  params: ["accumulate: u32"],
  held: ["x", "dy"],
  code: (each) => ({
    reduce: `let mean = stats[row].x;
  let r = stats[row].y;
  var sum = T(0.0);
  var products = T(0.0);
  ${each("let g = weight[i] * dy[at]; sum += g; products += g * (x[at] - mean);")}
  let a = sumOver(total(sum), lane) / n;
  let b = sumOver(total(products), lane) * r * r / n;`,
    write: each(`let g = r * (weight[i] * dy[at] - a - (x[at] - mean) * b);
      ${setOrAdd("dx[at]", "g")}`),
  }),
};

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
  const y = gpu.empty(x.shape);
  const stats = gpu.empty([rows, 2], "float32", "norm scales");
  runRows(FORWARD, x, [x, weight, bias, y, stats], [f32(eps)]);
  gpu.tape?.record("layer_norm", y, [x, weight, bias], [x, weight, stats], (dy, tape) => {
    if (x.requiresGrad) {
      const { grad, accumulate } = tape.target(x);
      runRows(BACKWARD_INPUT, x, [x, weight, stats, dy, grad], [Number(accumulate)]);
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
