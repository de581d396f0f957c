import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, setOrAdd } from "./runtime/wgsl.ts";

const SIZE = 64;

/**
 * Element-wise functions: GELU x·Φ(x), its tanh approximation, the quick one x·σ(1.702x), and SiLU x·σ(x).
 *
 * Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
 */
export type Activation = "gelu" | "gelu_tanh" | "quick_gelu" | "silu";

/** Each function as x·gate(x), and the derivative of the gate. */
const GATES: Readonly<Record<Activation, string>> = {
  // Φ from the fit of erfc of Press et al., "Numerical Recipes", 6.2: relative error below 1.2e-7
  gelu: `
fn gate(x: T) -> T {
  let z = abs(x) * 0.70710678;
  let t = 1.0 / (1.0 + 0.5 * z);
  let series = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 +
    t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  let tail = 0.5 * t * exp(max(series - z * z, T(-80.0)));
  return select(1.0 - tail, tail, x < T(0.0));
}
fn slope(x: T) -> T { return 0.39894228 * exp(max(-0.5 * x * x, T(-80.0))); }`,
  gelu_tanh: `
fn angle(x: T) -> T { return clamp(0.79788456 * (x + 0.044715 * x * x * x), T(-15.0), T(15.0)); }
fn gate(x: T) -> T { return 0.5 * (1.0 + tanh(angle(x))); }
fn slope(x: T) -> T {
  let t = tanh(angle(x));
  return 0.5 * (1.0 - t * t) * 0.79788456 * (1.0 + 0.134145 * x * x);
}`,
  quick_gelu: `
fn gate(x: T) -> T { return 1.0 / (1.0 + exp(min(-1.702 * x, T(80.0)))); }
fn slope(x: T) -> T { let s = gate(x); return 1.702 * s * (1.0 - s); }`,
  silu: `
fn gate(x: T) -> T { return 1.0 / (1.0 + exp(min(-x, T(80.0)))); }
fn slope(x: T) -> T { let s = gate(x); return s * (1.0 - s); }`,
};

/** WGSL of a function `activate` of a number or of four, which returns them as they are where no activation is named. */
export function activate(kind: Activation | undefined, type: "f32" | "vec4f"): string {
  const body = kind ? `${GATES[kind]}\nfn activate(x: T) -> T { return x * gate(x); }` : `
fn activate(x: T) -> T { return x; }`;
  return `alias T = ${type};${body}\n`;
}

function forwardKernel(gpu: Gpu, kind: Activation, { size, code }: Vectors): Kernel {
  return gpu.kernel(`${kind}/${size}`, () =>
    `${code}${GATES[kind]}
struct Params { n: u32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let v = x[i];
    y[i] = v * gate(v);
  }`,
      )
    }`);
}

function backwardKernel(gpu: Gpu, kind: Activation, { size, code }: Vectors): Kernel {
  return gpu.kernel(`${kind}_dx/${size}`, () =>
    `${code}${GATES[kind]}
struct Params { n: u32, accumulate: u32 }
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
    let v = x[i];
    let g = dy[i] * (gate(v) + v * slope(v));
    ${setOrAdd("dx[i]", "g")}
  }`,
      )
    }`);
}

/**
 * Applies an activation to every element.
 *
 * @param x Any shape.
 * @param kind Which one.
 */
export function activation(x: Tensor, kind: Activation): Tensor {
  const { gpu } = x;
  const v = vectors(x.size);
  const n = x.size / v.size;
  const workgroups = Math.ceil(n / SIZE);
  const y = gpu.empty(x.shape);
  gpu.run(forwardKernel(gpu, kind, v), [x, y], [n], workgroups);
  gpu.tape?.record(kind, y, [x], [x], (dy, tape) => {
    const { grad, accumulate } = tape.target(x);
    const params = [n, Number(accumulate)];
    gpu.run(backwardKernel(gpu, kind, v), [x, dy, grad], params, workgroups);
  });
  return y;
}
