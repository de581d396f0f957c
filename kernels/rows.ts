import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import { HALF, isHalf, reader } from "./runtime/precision.ts";
import type { Dtype, Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, rowLanes, setOrAdd } from "./runtime/wgsl.ts";

// `most` is the last row of the matrix that `rows` points into, `width` counts vectors
const PARAMS = "struct Params { count: u32, width: u32, most: u32, accumulate: u32 }";

function overRows(gpu: Gpu, body: string): string {
  const lanes = rowLanes(gpu.info);
  return entry(
    gpu,
    lanes,
    `if (group < p.count) {
    let start = group * p.width;
    let at = min(rows[group], p.most) * p.width;
    for (var i = lane; i < p.width; i += ${lanes}u) { ${body} }
  }`,
  );
}

function gatherKernel(gpu: Gpu, { size, code }: Vectors, dtype: Dtype): Kernel {
  const half = isHalf(dtype) ? dtype : undefined;
  const x = reader("x", dtype, "float32");
  return gpu.kernel(`gather_rows/${size}/${dtype}`, () =>
    `${PARAMS}
${code}${HALF[half ?? "float32"]}${x.code}
@group(0) @binding(0) var<storage, read> x: array<${x.type(size)}>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<uniform> p: Params;
${
      overRows(
        gpu,
        `let v = ${x.read(size, "at + i")};
      ${setOrAdd("y[start + i]", "v")}`,
      )
    }`);
}

function scatterKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`scatter_rows/${size}`, () =>
    `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<uniform> p: Params;
${
      overRows(
        gpu,
        setOrAdd("y[at + i]", "x[start + i]"),
      )
    }`);
}

function clearKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`clear_rows/${size}`, () =>
    `struct Params { count: u32, width: u32, most: u32 }
${code}
@group(0) @binding(0) var<storage, read_write> x: array<T>;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<uniform> p: Params;
${overRows(gpu, "x[at + i] = T(0.0);")}`);
}

/** Copies rows of `x`, which may be in half precision, to `y`, or adds them, outside of the tape. Row numbers beyond the last mean the last. */
export function gather(x: Tensor, rows: Tensor, y: Tensor, accumulate = false): void {
  const { gpu } = x;
  const v = vectors(x.width);
  const params = [rows.size, x.width / v.size, x.rows - 1, Number(accumulate)];
  gpu.run(gatherKernel(gpu, v, x.dtype), [x, rows, y], params, rows.size);
}

/** Copies `x` to rows of `y`, or adds it, outside of the tape. The rows must differ from each other. */
export function scatter(x: Tensor, rows: Tensor, y: Tensor, accumulate = false): void {
  const { gpu } = x;
  const v = vectors(x.width);
  const params = [rows.size, x.width / v.size, y.rows - 1, Number(accumulate)];
  gpu.run(scatterKernel(gpu, v), [x, rows, y], params, rows.size);
}

function clearRows(x: Tensor, rows: Tensor): void {
  const { gpu } = x;
  const v = vectors(x.width);
  gpu.run(clearKernel(gpu, v), [x, rows], [rows.size, x.width / v.size, x.rows - 1], rows.size);
}

function checkRows(name: string, rows: Tensor): void {
  if (rows.dtype !== "uint32") {
    throw new ShapeError(`${name}: row numbers must be uint32, not ${rows.dtype}.`);
  }
}

/**
 * Some rows of a matrix, in the order in which they are named.
 *
 * @param x Rows [T, width].
 * @param rows Numbers of rows, uint32 [R], below T; they must differ from each other where a gradient is to flow.
 * @returns [R, width]
 */
export function gatherRows(x: Tensor, rows: Tensor): Tensor {
  const { gpu } = x;
  checkRows("gatherRows", rows);
  const y = gpu.empty([rows.size, x.width]);
  gather(x, rows, y);
  gpu.tape?.record("gather_rows", y, [x], [rows], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    if (!accumulate) gpu.clear(grad);
    scatter(dy, rows, grad, accumulate);
  });
  return y;
}

/**
 * Puts other vectors in the place of some rows of a matrix. When nobody else holds `x`, its memory is taken over: do
 * not read `x` afterwards.
 *
 * @param x Rows [T, width], for example embedded tokens.
 * @param features What takes their place [N, width].
 * @param rows Numbers of the rows that it takes, uint32 [N], below T, each once.
 * @returns [T, width]
 */
export function spliceRows(x: Tensor, features: Tensor, rows: Tensor): Tensor {
  const { gpu } = x;
  checkRows("spliceRows", rows);
  if (features.rows !== rows.size || features.width !== x.width) {
    throw new ShapeError(
      `spliceRows: features [${features.shape}] do not fit ${rows.size} rows of [${x.shape}].`,
    );
  }
  const y = x.exclusive ? x.view(x.shape) : gpu.empty(x.shape);
  if (y.storage !== x.storage) gpu.copy(x, y);
  scatter(features, rows, y);
  gpu.tape?.record("splice_rows", y, [x, features], [rows], (dy, tape) => {
    if (features.requiresGrad) {
      const { grad, accumulate } = tape.target(features);
      gather(dy, rows, grad, accumulate);
    }
    tape.accumulateChanged(x, dy, (dx) => clearRows(dx, rows));
  });
  return y;
}

/** Matrices of one width [Tᵢ, width] below each other [Σ Tᵢ, width]. */
export function concatRows(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  const odd = parts.find(({ width }) => width !== first?.width);
  if (!first || odd) {
    throw new ShapeError(`concatRows: [${odd?.shape}] does not fit below [${first?.shape}].`);
  }
  const { gpu, width } = first;
  const starts = [0];
  for (const { size } of parts) starts.push(starts.at(-1)! + size);
  const y = gpu.empty([starts.at(-1)! / width, width]);
  parts.forEach((part, i) => gpu.copy(part, y.view(part.shape, starts[i])));
  gpu.tape?.record("concat_rows", y, parts, [], (dy, tape) => {
    parts.forEach((part, i) => {
      if (!part.requiresGrad) return;
      const dx = gpu.empty(part.shape, "float32", "gradient");
      gpu.copy(dy.view(part.shape, starts[i]), dx);
      tape.accumulate(part, dx);
    });
  });
  return y;
}
