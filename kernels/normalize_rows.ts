import { type RowKernel, runRows } from "./row_kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { setOrAdd } from "./runtime/wgsl.ts";

/** The smallest norm that a row is divided by, as PyTorch's `normalize` has it. */
const LEAST_NORM = "1e-12";

const FORWARD: RowKernel = {
  name: "normalize_rows",
  reads: ["x: T"],
  writes: ["y: T", "scale: f32"],
  held: ["x"],
  code: (each) => ({
    reduce: `var squares = T(0.0);
  ${each("let v = x[at]; squares += v * v;")}
  let r = 1.0 / max(sqrt(sumOver(total(squares), lane)), ${LEAST_NORM});`,
    write: `if (lane == 0u) { scale[row] = r; }
    ${each("y[at] = x[at] * r;")}`,
  }),
};

/** dx = r·(dy − y·Σ y·dy) with r = 1/‖x‖; the second term is left out where r does not depend on x. */
const BACKWARD: RowKernel = {
  name: "normalize_rows_dx",
  reads: ["y: T", "scale: f32", "dy: T"],
  writes: ["dx: T"],
  params: ["accumulate: u32"],
  held: ["y", "dy"],
  code: (each) => ({
    reduce: `var products = T(0.0);
  ${each("products += y[at] * dy[at];")}
  let r = scale[row];
  let along = sumOver(total(products), lane) * select(0.0, 1.0, r * ${LEAST_NORM} < 0.999);`,
    write: each(`let g = r * (dy[at] - y[at] * along);
      ${setOrAdd("dx[at]", "g")}`),
  }),
};

/**
 * Brings each row to length 1: y = x / max(‖x‖, 1e-12).
 *
 * @param x Rows [..., width].
 */
export function normalizeRows(x: Tensor): Tensor {
  const { gpu, rows } = x;
  const y = gpu.empty(x.shape);
  const scale = gpu.empty([rows], "float32", "norm scales");
  runRows(FORWARD, x, [x, y, scale]);
  gpu.tape?.record("normalize_rows", y, [x], [y, scale], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    runRows(BACKWARD, x, [y, scale, dy, grad], [Number(accumulate)]);
  });
  return y;
}
