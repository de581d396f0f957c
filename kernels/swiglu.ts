import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry } from "./runtime/wgsl.ts";

const SIZE = 64;

// `n` counts the output's vectors, `width` those of its rows
const PARAMS = `struct Params { n: u32, width: u32, accumulate: u32 }
fn sigmoid(v: T) -> T { return 1.0 / (1.0 + exp(min(-v, T(80.0)))); }`;

function forwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`swiglu/${size}`, () =>
    `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let gate = i + i / p.width * p.width;
    let g = x[gate];
    y[i] = g * sigmoid(g) * x[gate + p.width];
  }`,
      )
    }`);
}

/** With s = σ(g): dgate = dy·up·s·(1 + g·(1 − s)), dup = dy·g·s. */
function backwardKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`swiglu_dx/${size}`, () =>
    `${PARAMS}
${code}
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> dy: array<T>;
@group(0) @binding(2) var<storage, read_write> dx: array<T>;
@group(0) @binding(3) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let gate = i + i / p.width * p.width;
    let up = gate + p.width;
    let g = x[gate];
    let d = dy[i];
    let s = sigmoid(g);
    var dgate = d * x[up] * s * (1.0 + g * (1.0 - s));
    var dup = d * g * s;
    if (p.accumulate == 1u) {
      dgate += dx[gate];
      dup += dx[up];
    }
    dx[gate] = dgate;
    dx[up] = dup;
  }`,
      )
    }`);
}

/**
 * The gated activation silu(gate) · up.
 *
 * Shazeer, "GLU Variants Improve Transformer", 2020.
 *
 * @param x Rows [..., 2F]: the gate's F numbers, then the up projection's.
 * @returns [..., F]
 */
export function swiglu(x: Tensor): Tensor {
  const { gpu } = x;
  const width = x.width / 2;
  if (!Number.isInteger(width)) {
    throw new ShapeError(`swiglu: rows [${x.shape}] cannot be halved into gate and up.`);
  }
  const v = vectors(width);
  const y = gpu.empty([...x.shape.slice(0, -1), width]);
  const n = y.size / v.size;
  const workgroups = Math.ceil(n / SIZE);
  gpu.run(forwardKernel(gpu, v), [x, y], [n, width / v.size, 0], workgroups);
  gpu.tape?.record("swiglu", y, [x], [x], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    const params = [n, width / v.size, Number(accumulate)];
    gpu.run(backwardKernel(gpu, v), [x, dy, grad], params, workgroups);
  });
  return y;
}
