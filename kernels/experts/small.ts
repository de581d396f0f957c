import { operandsOf } from "../matmul/problem.ts";
import { entry } from "../runtime/wgsl.ts";
import { type GroupedProduct, partOf, tableOf } from "./problem.ts";

const TILE = 32;
const FOUR = [0, 1, 2, 3];

/** Any grouped product whose tiles have a multiple of 32 rows, without workgroup memory. */
export function smallGroupedProduct(product: GroupedProduct): void {
  const { layout, a, b, out, m, n, k, groups: { tile, experts }, accumulate } = product;
  const { gpu } = out;
  const read = operandsOf(product);
  const kernel = gpu.kernel(`experts_small/${layout}${read.key}`, () =>
    `${read.code}
@group(0) @binding(0) var<storage, read> a: array<${read.a.type(1)}>;
@group(0) @binding(1) var<storage, read> b: array<${read.b.type(1)}>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
struct Params { m: u32, n: u32, k: u32, tile: u32, experts: u32, add: u32 }
@group(0) @binding(4) var<uniform> p: Params;
var<private> firstB: u32;
fn store(above: u32, row: u32, column: u32, product: f32) {
  if (row < p.m && column < p.n) {
    let i = (above + row) * p.n + column;
    var sum = product;
    if (p.add == 1u) { sum += out[i]; }
    out[i] = sum;
  }
}
${
      entry(
        gpu,
        64,
        `let row = workgroup.y * ${TILE}u + (lane >> 3u);
  let column = workgroup.x * ${TILE}u + (lane & 7u);
  ${partOf(layout, `workgroup.y * ${TILE}u / p.tile`)}
  ${
          FOUR.map((i) => {
            const line = `min(row + ${8 * i}u, p.m - 1u)`;
            return `var ia${i} = ${layout === "TN" ? `start * p.m + ${line}` : `${line} * p.k`};`;
          }).join(" ")
        }
  ${
          FOUR.map((j) => {
            const line = `min(column + ${8 * j}u, p.n - 1u)`;
            return `var ib${j} = ${
              layout === "NT" ? `firstB + ${line} * p.k` : `firstB + start * p.n + ${line}`
            };`;
          }).join(" ")
        }
  ${FOUR.map((i) => FOUR.map((j) => `var c${i}${j} = 0.0;`).join(" ")).join(" ")}
  for (var k = start; k < end; k++) {
    ${
          FOUR.map((i) =>
            `let a${i} = ${read.a.read(1, `ia${i}`)}; ia${i} += ${layout === "TN" ? "p.m" : "1u"};`
          ).join(
            " ",
          )
        }
    ${
          FOUR.map((j) =>
            `let b${j} = ${read.b.read(1, `ib${j}`)}; ib${j} += ${layout === "NT" ? "1u" : "p.n"};`
          ).join(
            " ",
          )
        }
    ${FOUR.map((i) => FOUR.map((j) => `c${i}${j} += a${i} * b${j};`).join(" ")).join("\n    ")}
  }
  ${
          FOUR.map((i) =>
            FOUR.map((j) =>
              `store(workgroup.z * p.m, row + ${8 * i}u, column + ${8 * j}u, c${i}${j});`
            )
              .join(" ")
          ).join("\n  ")
        }`,
      )
    }`);
  gpu.run(
    kernel,
    [a, b, tableOf(product), out],
    [m, n, k, tile, experts, Number(accumulate)],
    [Math.ceil(n / TILE), Math.ceil(m / TILE), layout === "TN" ? experts : 1],
  );
}
