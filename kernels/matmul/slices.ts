import type { Tensor } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";
import { addends, additions, endOfKey, finish, type Product } from "./problem.ts";

/** Sums the partial products [count, m, n] of a product whose k was cut into slices, always in the same order. */
export function sumSlices(product: Product, partial: Tensor, count: number): void {
  const { out, m, n } = product;
  const { gpu } = out;
  const kernel = gpu.kernel(`matmul_slices${endOfKey(product)}`, () => `
@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read> residual: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
struct Params { size: u32, n: u32, count: u32, add: u32 }
@group(0) @binding(4) var<uniform> p: Params;
${finish(product, "f32")}
${
    entry(
      gpu,
      64,
      `let i = group * 64u + lane;
  if (i < p.size) {
    var sum = 0.0;
    for (var slice = 0u; slice < p.count; slice++) { sum += partial[slice * p.size + i]; }
    finish(i, i % p.n, sum);
  }`,
    )
  }`);
  const [bias, residual] = addends(product);
  const params = [m * n, n, count, additions(product)];
  gpu.run(kernel, [partial, bias, residual, out], params, Math.ceil(m * n / 64));
}
