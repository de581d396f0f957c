import type { Gpu } from "../runtime/gpu.ts";
import type { Kernel } from "../runtime/kernel.ts";
import { entry, range } from "../runtime/wgsl.ts";
import {
  addends,
  additions,
  endOfKey,
  finish,
  type Operands,
  operandsOf,
  type Product,
} from "./problem.ts";

const SIZE = 64;

/** Whether this kernel takes a product: a few rows times a matrix whose rows can be read four numbers at a time. */
export function gemvTakes({ layout, m, k }: Pick<Product, "layout" | "m" | "k">): boolean {
  return layout === "NT" && m <= 8 && k % 4 === 0;
}

/** A product of up to 8 rows with Bᵀ, as in decoding: several lanes share a row of B and read it once, side by side. */
export function gemvProduct(product: Product): void {
  const { a, b, out, m, n, k } = product;
  const { gpu } = out;
  const { columns, lanes } = sharing(gpu);
  const params = [m, n, k / 4, additions(product)];
  const workgroups = Math.ceil(n / (SIZE / lanes * columns));
  const rows = 2 ** Math.ceil(Math.log2(m));
  gpu.run(
    gemvKernel(product, rows, operandsOf(product)),
    [a, b, ...addends(product), out],
    params,
    workgroups,
  );
}

/** Lanes that share columns of the result, and how many columns: on the processor a subgroup, and loads of A are dear. */
function sharing({ info }: Gpu): { lanes: number; columns: number } {
  return info.software && info.subgroupSize > 0
    ? { lanes: info.subgroupSize, columns: 4 }
    : { lanes: 16, columns: 1 };
}

function gemvKernel(product: Product, rows: number, read: Operands): Kernel {
  const { gpu } = product.out;
  return gpu.kernel(`matmul_gemv/${rows}${read.key}${endOfKey(product)}`, () => {
    const { lanes, columns } = sharing(gpu);
    const row = range(rows), held = range(columns);
    const sums = row.flatMap((i) => held.map((j) => `c${i}_${j}`));
    // a card waits for loads once a turn, so that the few of one row are to be several turns'
    const turns = gpu.info.software ? [0] : range(Math.max(1, Math.floor(4 / rows)));
    const at = (turn: number) => turn ? `min(q + ${turn * lanes}u, p.quads - 1u)` : "q";
    const inRow = (turn: number, value: string) =>
      turn ? `select(vec4f(), ${value}, q + ${turn * lanes}u < p.quads)` : value;
    return `${read.code}
@group(0) @binding(0) var<storage, read> a: array<${read.a.type(4)}>;
@group(0) @binding(1) var<storage, read> b: array<${read.b.type(4)}>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
struct Params { m: u32, n: u32, quads: u32, add: u32 }
@group(0) @binding(5) var<uniform> p: Params;
var<workgroup> partial: array<f32, ${sums.length * SIZE}>;
${finish(product, "f32")}
${
      entry(
        gpu,
        SIZE,
        `let part = lane % ${lanes}u;
  let first = (group * ${SIZE / lanes}u + lane / ${lanes}u) * ${columns}u;
  ${row.map((i) => `let a${i} = min(${i}u, p.m - 1u) * p.quads;`).join(" ")}
  ${held.map((j) => `let b${j} = min(first + ${j}u, p.n - 1u) * p.quads;`).join(" ")}
  ${sums.map((c) => `var ${c} = vec4f();`).join(" ")}
  for (var q = part; q < p.quads; q += ${lanes * turns.length}u) {
    ${
          turns.map((t) =>
            held.map((j) => `let w${j}_${t} = ${inRow(t, read.b.read(4, `b${j} + ${at(t)}`))};`)
              .join(" ")
          ).join("\n    ")
        }
    ${
          turns.flatMap((t) =>
            row.map((i) =>
              `{ let x = ${read.a.read(4, `a${i} + ${at(t)}`)}; ${
                held.map((j) => `c${i}_${j} += x * w${j}_${t};`).join(" ")
              } }`
            )
          ).join("\n    ")
        }
  }
  ${sums.map((c, s) => `partial[${s * SIZE}u + lane] = dot(${c}, vec4f(1.0));`).join("\n  ")}
  workgroupBarrier();
  for (var s = part; s < ${sums.length}u; s += ${lanes}u) {
    let row = s / ${columns}u;
    let column = first + s % ${columns}u;
    if (row < p.m && column < p.n) {
      var sum = 0.0;
      for (var l = 0u; l < ${lanes}u; l++) { sum += partial[s * ${SIZE}u + lane - part + l]; }
      finish(row * p.n + column, column, sum);
    }
  }`,
      )
    }`;
  });
}
