import { entry } from "../runtime/wgsl.ts";
import { addends, additions, endOfKey, finish, operandsOf, type Product } from "./problem.ts";

const TILE = 32;
const FOUR = [0, 1, 2, 3];

/** Any product, without workgroup memory: for small ones, and for extents that the other kernels do not take. */
export function smallProduct(product: Product): void {
  const { layout, a, b, out, m, n, k } = product;
  const { gpu } = out;
  const read = operandsOf(product);
  const kernel = gpu.kernel(`matmul_small${read.key}${endOfKey(product)}`, () =>
    `${read.code}
@group(0) @binding(0) var<storage, read> a: array<${read.a.type(1)}>;
@group(0) @binding(1) var<storage, read> b: array<${read.b.type(1)}>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
struct Params { m: u32, n: u32, k: u32, add: u32, aRow: u32, aStep: u32, bColumn: u32, bStep: u32 }
@group(0) @binding(5) var<uniform> p: Params;
${finish(product, "f32")}
fn store(row: u32, column: u32, product: f32) {
  if (row < p.m && column < p.n) { finish(row * p.n + column, column, product); }
}
${
      entry(
        gpu,
        64,
        `let row = workgroup.y * ${TILE}u + (lane >> 3u);
  let column = workgroup.x * ${TILE}u + (lane & 7u);
  ${FOUR.map((i) => `var ia${i} = min(row + ${8 * i}u, p.m - 1u) * p.aRow;`).join(" ")}
  ${FOUR.map((j) => `var ib${j} = min(column + ${8 * j}u, p.n - 1u) * p.bColumn;`).join(" ")}
  ${FOUR.map((i) => FOUR.map((j) => `var c${i}${j} = 0.0;`).join(" ")).join(" ")}
  for (var k = 0u; k < p.k; k++) {
    ${FOUR.map((i) => `let a${i} = ${read.a.read(1, `ia${i}`)}; ia${i} += p.aStep;`).join(" ")}
    ${FOUR.map((j) => `let b${j} = ${read.b.read(1, `ib${j}`)}; ib${j} += p.bStep;`).join(" ")}
    ${FOUR.map((i) => FOUR.map((j) => `c${i}${j} += a${i} * b${j};`).join(" ")).join("\n    ")}
  }
  ${
          FOUR.map((i) =>
            FOUR.map((j) => `store(row + ${8 * i}u, column + ${8 * j}u, c${i}${j});`).join(" ")
          ).join("\n  ")
        }`,
      )
    }`);
  const strides = [
    ...(layout === "TN" ? [1, m] : [k, 1]),
    ...(layout === "NT" ? [k, 1] : [1, n]),
  ];
  const workgroups = [Math.ceil(n / TILE), Math.ceil(m / TILE)] as const;
  const bindings = [a, b, ...addends(product), out];
  gpu.run(kernel, bindings, [m, n, k, additions(product), ...strides], workgroups);
}
