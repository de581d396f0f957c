import { type Operands, operandsOf } from "../matmul/problem.ts";
import type { Gpu } from "../runtime/gpu.ts";
import type { Kernel } from "../runtime/kernel.ts";
import { type Vectors, vectors } from "../runtime/vectors.ts";
import { entry } from "../runtime/wgsl.ts";
import type { GroupedProduct } from "./problem.ts";

const SIZE = 64;

/**
 * The `NT` product of short tiles, as in decoding, row by row: several lanes share a row of the expert's weight, which
 * they read side by side.
 */
export function groupedGemv(product: GroupedProduct): void {
  const { a, b, out, m, n, k, groups } = product;
  const { gpu } = out;
  const v = vectors(k);
  const lanes = lanesOf(gpu);
  const params = [n, k / v.size, groups.experts, groups.tile];
  const workgroups = [Math.ceil(n * lanes / SIZE), m] as const;
  const kernel = gemvKernel(gpu, v, operandsOf(product));
  gpu.run(kernel, [a, b, groups.tileExperts, out], params, workgroups);
}

function lanesOf({ info }: Gpu): number {
  return info.software && info.subgroupSize > 0 ? info.subgroupSize : 16;
}

function gemvKernel(gpu: Gpu, { size, code }: Vectors, read: Operands): Kernel {
  const lanes = lanesOf(gpu);
  const bySubgroup = gpu.info.subgroupSize === lanes;
  return gpu.kernel(`experts_gemv/${size}${read.key}`, () =>
    `${code}${read.code}
@group(0) @binding(0) var<storage, read> a: array<${read.a.type(size)}>;
@group(0) @binding(1) var<storage, read> b: array<${read.b.type(size)}>;
@group(0) @binding(2) var<storage, read> tileExperts: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
struct Params { n: u32, width: u32, experts: u32, tile: u32 }
@group(0) @binding(4) var<uniform> p: Params;
${bySubgroup ? "" : `var<workgroup> partial: array<f32, ${SIZE}>;`}
${
      entry(
        gpu,
        SIZE,
        `let part = lane % ${lanes}u;
  let column = workgroup.x * ${SIZE / lanes}u + lane / ${lanes}u;
  let expert = min(tileExperts[workgroup.y / p.tile], p.experts - 1u);
  let row = (expert * p.n + min(column, p.n - 1u)) * p.width;
  var products = T(0.0);
  for (var i = part; i < p.width; i += ${lanes}u) {
    products += ${read.a.read(size, "workgroup.y * p.width + i")} * ${read.b.read(size, "row + i")};
  }
  ${
          bySubgroup ? "let sum = subgroupAdd(total(products));" : `partial[lane] = total(products);
  workgroupBarrier();
  var sum = 0.0;
  for (var l = 0u; l < ${lanes}u; l++) { sum += partial[lane - part + l]; }`
        }
  if (part == 0u && column < p.n) { out[workgroup.y * p.n + column] = sum; }`,
      )
    }`);
}
