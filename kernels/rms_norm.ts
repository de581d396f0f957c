import { columnSums } from "./column_sums.ts";
import { type RowKernel, runRows } from "./row_kernel.ts";
import { ShapeError } from "./runtime/errors.ts";
import { f32 } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { setOrAdd } from "./runtime/wgsl.ts";

const FORWARD: RowKernel = {
  name: "rms_norm",
  reads: ["x: T", "weight: T"],
  writes: ["y: T", "scale: f32"],
  params: ["eps: f32"],
  held: ["x"],
  code: (each) => ({
    reduce: `var squares = T(0.0);
  ${each("let v = x[at]; squares += v * v;")}
  let r = inverseSqrt(sumOver(total(squares), lane) / n + p.eps);`,
    write: `if (lane == 0u) { scale[row] = r; }
    ${each("y[at] = weight[i] * (x[at] * r);")}`,
  }),
};

/** dx = r·(w·dy − x·r²·mean(w·dy·x)) with r the forward's scale of the row. */
const BACKWARD_INPUT: RowKernel = {
  name: "rms_norm_dx",
  reads: ["x: T", "weight: T", "scale: f32", "dy: T"],
  writes: ["dx: T"],
  params: ["accumulate: u32"],
  held: ["x", "dy"],
  code: (each) => ({
    reduce: `var products = T(0.0);
  ${each("products += weight[i] * dy[at] * x[at];")}
  let r = scale[row];
  let c = sumOver(total(products), lane) * r * r / n;`,
    write: each(`let g = r * (weight[i] * dy[at] - x[at] * c);
      ${setOrAdd("dx[at]", "g")}`),
  }),
};

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
  runRows(FORWARD, x, [x, weight, y, scale], [f32(eps)]);
  gpu.tape?.record("rms_norm", y, [x, weight], [x, weight, scale], (dy, tape) => {
    if (x.requiresGrad) {
      const { grad, accumulate } = tape.target(x);
      runRows(BACKWARD_INPUT, x, [x, weight, scale, dy, grad], [Number(accumulate)]);
    }
    if (weight.requiresGrad) {
      const { grad, accumulate } = tape.target(weight);
      columnSums("rms_norm_dweight", "t0[i] * t1[i] * t2[row]", [dy, x, scale], grad, accumulate);
    }
  });
  return y;
}
