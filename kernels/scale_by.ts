import { f32 } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { vectors } from "./runtime/vectors.ts";
import { entry, setOrAdd } from "./runtime/wgsl.ts";

const SIZE = 64;

/**
 * y = x · s · factor, or y += x · s · factor, outside of the tape.
 *
 * @param s A number on the device [1].
 * @param y Of the size of x; in place if left out.
 */
export function scaleBy(
  x: Tensor,
  s: Tensor,
  factor: number,
  y?: Tensor,
  accumulate = false,
): void {
  const { gpu } = x;
  const v = vectors(x.size);
  const kernel = gpu.kernel(`scale_by${y ? "" : "_in_place"}/${v.size}`, () =>
    `${v.code}
struct Params { n: u32, accumulate: u32, factor: f32 }
@group(0) @binding(0) var<storage, ${y ? "read" : "read_write"}> x: array<T>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
${y ? "@group(0) @binding(2) var<storage, read_write> y: array<T>;" : ""}
@group(0) @binding(${y ? 3 : 2}) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let v = x[i] * (s[0] * p.factor);
    ${setOrAdd(`${y ? "y" : "x"}[i]`, "v")}
  }`,
      )
    }`);
  const n = x.size / v.size;
  const bindings = y ? [x, s, y] : [x, s];
  gpu.run(kernel, bindings, [n, Number(accumulate), f32(factor)], Math.ceil(n / SIZE));
}
