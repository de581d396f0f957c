import { type RowKernel, runRows } from "./row_kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { setOrAdd } from "./runtime/wgsl.ts";

const FORWARD: RowKernel = {
  name: "softmax",
  reads: ["x: T"],
  writes: ["y: T"],
  held: ["x"],
  code: (each) => ({
    reduce: `var most = T(-3.40282346e38);
  ${each("most = max(most, x[at]);")}
  let top = maxOver(largest(most), lane);
  var sum = T(0.0);
  ${each("sum += exp(x[at] - top);")}
  let r = 1.0 / sumOver(total(sum), lane);`,
    write: each("y[at] = exp(x[at] - top) * r;"),
  }),
};

/** dx = y·(dy − Σ y·dy). */
const BACKWARD: RowKernel = {
  name: "softmax_dx",
  reads: ["y: T", "dy: T"],
  writes: ["dx: T"],
  params: ["accumulate: u32"],
  held: ["y", "dy"],
  code: (each) => ({
    reduce: `var products = T(0.0);
  ${each("products += y[at] * dy[at];")}
  let c = sumOver(total(products), lane);`,
    write: each(`let g = y[at] * (dy[at] - c);
      ${setOrAdd("dx[at]", "g")}`),
  }),
};

/**
 * The softmax of each row: y = exp(x) / Σ exp(x), with the row's largest element subtracted first.
 *
 * @param x Rows [..., width].
 */
export function softmax(x: Tensor): Tensor {
  const { gpu } = x;
  const y = gpu.empty(x.shape);
  runRows(FORWARD, x, [x, y]);
  gpu.tape?.record("softmax", y, [x], [y], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    runRows(BACKWARD, x, [y, dy, grad], [Number(accumulate)]);
  });
  return y;
}
