import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel, roundUp } from "../runtime/kernel.ts";
import { HALF, isHalf } from "../runtime/precision.ts";
import { namedTexture } from "../runtime/textures.ts";
import { entry, range } from "../runtime/wgsl.ts";
import { imageFormat, LANES, quad, QUADS } from "./image.ts";
import { imageRowProduct, made, type Source, sourceOf, STORE, SWIGLU } from "./image_row.ts";
import { addends, additions, type Operands, operandsOf, type Product } from "./problem.ts";

/** Quads of k that are multiplied at a time. */
const STEPS = 4;
/** Subgroups of a workgroup. */
const SUBGROUPS = 4;

/** How many rows and columns of the result a lane has, in groups of which a subgroup loads a texel each. */
interface Block {
  /** Rows, by eights where there are more. */
  readonly rows: number;
  /** Columns, each eight from the next. */
  readonly columns: number;
}

/** A block for so many rows: what is loaded should be used often, and all sums should fit into registers. */
function blockFor(m: number): Block {
  return m > LANES
    ? { rows: 2 * LANES, columns: 2 }
    : { rows: m > 4 ? LANES : m > 2 ? 4 : 2, columns: 4 };
}

/**
 * A product of few rows with a weight of which there is an image, on a processor that poses as a GPU.
 *
 * Each lane has a few columns of the result and reads its rows of the weight from the image. The rows of the left
 * operand lie in another texture, one for each lane, and are shown to all lanes number by number. What they are made
 * from, see `ProductOptions.from`, is computed on the way there. A single row has a kernel of its own.
 */
export function imageProduct(product: Product): void {
  const { b, out, m, n, k } = product;
  if (m === 1) return imageRowProduct(product);
  const { gpu } = out;
  const block = blockFor(m), quads = roundUp(k / 4, STEPS);
  const rows = namedTexture(gpu, "rows of a product", LANES * quads, Math.ceil(m / LANES));
  fillRows(product, rows, quads);
  gpu.run(
    blockKernel(gpu, block, b.dtype),
    [b.image!, rows, ...addends(product), out],
    [m, n, additions(product), quads],
    [Math.ceil(n / (LANES * block.columns * SUBGROUPS)), Math.ceil(m / block.rows)],
  );
}

/** Puts the left operand into a texture as `makeImage` does, with zeros behind the last number. */
function fillRows(product: Product, rows: GPUTexture, quads: number): void {
  const { a, m, k, from } = product;
  const { gpu } = a;
  const norm = from && from !== "swiglu" ? from : undefined;
  const kernel = rowsKernel(gpu, sourceOf(product), operandsOf(product));
  gpu.run(kernel, norm ? [a, rows, norm.gain] : [a, rows], [
    ...[k / 4, quads],
    ...norm ? [f32(norm.eps)] : [],
  ], m);
}

function rowsKernel(gpu: Gpu, source: Source, read: Operands): Kernel {
  const { a, precision } = read;
  const norm = source === "norm";
  const value = made(source, read, ["first", "at", "p.quads"]);
  return gpu.kernel(`matmul_image_rows/${source}${read.key}`, () =>
    `${HALF[precision]}${SWIGLU}
@group(0) @binding(0) var<storage, read> a: array<${a.type(4)}>;
@group(0) @binding(1) var rows: texture_storage_2d<rgba32float, write>;
${norm ? "@group(0) @binding(2) var<storage, read> gain: array<vec4f>;" : ""}
struct Params { quads: u32, all: u32${norm ? ", eps: f32" : ""} }
@group(0) @binding(${norm ? 3 : 2}) var<uniform> p: Params;
${
      entry(
        gpu,
        LANES,
        `let first = group * ${source === "swiglu" ? "2u * " : ""}p.quads;
  ${
          norm
            ? `var sum = 0.0;
  for (var i = lane; i < p.quads; i += ${LANES}u) { let v = a[first + i]; sum += dot(v, v); }
  let scale = inverseSqrt(subgroupAdd(sum) / f32(4u * p.quads) + p.eps);`
            : ""
        }
  for (var i = lane; i < p.all; i += ${LANES}u) {
    let at = min(i, p.quads - 1u);
    let value = select(vec4f(), ${value}, i < p.quads);
    textureStore(rows, vec2u(i * ${LANES}u + group % ${LANES}u, group / ${LANES}u), value);
  }`,
      )
    }`);
}

function blockKernel(gpu: Gpu, { rows, columns }: Block, dtype: Product["b"]["dtype"]): Kernel {
  const { texel, numbers } = imageFormat(dtype);
  const each = numbers / 4;
  const eights = Math.ceil(rows / LANES);
  const perColumn = (f: (b: number) => string): string => range(columns).map(f).join(" ");
  const load = (place: string, b: number) =>
    `textureLoad(image, vec2u((${place}) * ${LANES}u + sgi, block + ${b}u))`;
  const scales = perColumn((b) =>
    `let all${b} = bitcast<vec4f>(${load("q / 32u * 9u", b)});
    let scale${b} = select(select(all${b}.x, all${b}.y, part == 1u), select(all${b}.z, all${b}.w, part == 3u), part > 1u);`
  );
  const texels = range(STEPS / each).map((t) =>
    perColumn((b) =>
      `let t${t}_${b} = ${
        load(dtype === "q8" ? `q / 4u + q / 32u + 1u + ${t}u` : `q / ${each}u + ${t}u`, b)
      };`
    )
  );
  const values = range(STEPS).map((q) =>
    perColumn((b) =>
      `let v${q}_${b} = ${quad(dtype, `t${Math.floor(q / each)}_${b}`, q % each)}${
        dtype === "q8" ? ` * scale${b}` : ""
      };`
    )
  );
  const products = range(rows).map((j) => (q: number) =>
    [..."xyzw"].map((c) =>
      `{ let a = subgroupBroadcast(x${q}_${Math.floor(j / LANES)}.${c}, ${j % LANES}u); ${
        perColumn((b) => `c${j}_${b} += a * v${q}_${b}.${c};`)
      } }`
    ).join(" ")
  );
  return gpu.kernel(`matmul_image/${rows}/${dtype}`, () =>
    `${isHalf(dtype) ? HALF[dtype] : ""}
@group(0) @binding(0) var image: texture_storage_2d<${texel}, read>;
@group(0) @binding(1) var rows: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
struct Params { m: u32, n: u32, add: u32, quads: u32 }
@group(0) @binding(5) var<uniform> p: Params;
${QUADS}${STORE}
${
      entry(
        gpu,
        LANES * SUBGROUPS,
        `let block = (workgroup.x * ${SUBGROUPS}u + sg) * ${columns}u;
  ${range(rows).map((j) => perColumn((b) => `var c${j}_${b} = 0.0;`)).join("\n  ")}
  for (var q = 0u; q < p.quads; q += ${STEPS}u) {
    ${
          range(STEPS).map((q) =>
            range(eights).map((e) =>
              `let x${q}_${e} = textureLoad(rows, vec2u((q + ${q}u) * ${LANES}u + sgi, workgroup.y * ${eights}u + ${e}u));`
            ).join(" ")
          ).join("\n    ")
        }
    ${dtype === "q8" ? `let part = q / 8u % 4u; ${scales}` : ""}
    ${[...texels, ...values].join("\n    ")}
    ${range(STEPS).map((q) => products.map((product) => product(q)).join("\n    ")).join("\n    ")}
  }
  ${
          perColumn((b) =>
            `{ let column = (block + ${b}u) * ${LANES}u + sgi;
    ${
              range(rows).map((j) =>
                `{ let row = workgroup.y * ${rows}u + ${j}u;
      if (row < p.m && column < p.n) { store(row * p.n + column, column, c${j}_${b}); } }`
              ).join("\n    ")
            } }`
          )
        }`,
      )
    }`);
}
