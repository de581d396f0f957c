import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, reductions, rowLanes } from "./runtime/wgsl.ts";

// `width` counts vectors
const PARAMS = `struct Params { rows: u32, width: u32, accumulate: u32 }`;
/** The smallest norm that a row is divided by, as PyTorch's `normalize` has it. */
const LEAST_NORM = "1e-12";

function forwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`normalize_rows/${size}`, () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  var squares = T(0.0);
  for (var i = lane; i < p.width; i += ${lanes}u) { let v = x[start + i]; squares += v * v; }
  let r = 1.0 / max(sqrt(sumOver(total(squares), lane)), ${LEAST_NORM});
  if (group < p.rows) {
    if (lane == 0u) { scale[row] = r; }
    for (var i = lane; i < p.width; i += ${lanes}u) { y[start + i] = x[start + i] * r; }
  }`,
      )
    }`;
  });
}

/** dx = r·(dy − y·Σ y·dy) with r = 1/‖x‖; the second term is left out where r does not depend on x. */
function backwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`normalize_rows_dx/${size}`, () => {
    const lanes = rowLanes(gpu.info);
    return `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> y: array<T>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<T>;
@group(0) @binding(3) var<storage, read_write> dx: array<T>;
@group(0) @binding(4) var<uniform> p: Params;
${reductions(gpu, lanes)}
${
      entry(
        gpu,
        lanes,
        `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  var products = T(0.0);
  for (var i = lane; i < p.width; i += ${lanes}u) { products += y[start + i] * dy[start + i]; }
  let r = scale[row];
  let along = sumOver(total(products), lane) * select(0.0, 1.0, r * ${LEAST_NORM} < 0.999);
  if (group < p.rows) {
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let g = r * (dy[start + i] - y[start + i] * along);
      if (p.accumulate == 1u) { dx[start + i] += g; } else { dx[start + i] = g; }
    }
  }`,
      )
    }`;
  });
}

/**
 * Brings each row to length 1: y = x / max(‖x‖, 1e-12).
 *
 * @param x Rows [..., width].
 */
export function normalizeRows(x: Tensor): Tensor {
  const { gpu, rows, width } = x;
  const v = vectors(width);
  const y = gpu.empty(x.shape);
  const scale = gpu.empty([rows], "float32", "norm scales");
  gpu.run(forwardKernel(gpu, v), [x, y, scale], [rows, width / v.size, 0], rows);
  gpu.tape?.record("normalize_rows", y, [x], [y, scale], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    const params = [rows, width / v.size, Number(accumulate)];
    gpu.run(backwardKernel(gpu, v), [y, scale, dy, grad], params, rows);
  });
  return y;
}
