import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel, roundUp } from "../runtime/kernel.ts";
import { HALF } from "../runtime/precision.ts";
import { namedTexture } from "../runtime/textures.ts";
import type { Dtype } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";
import { type Block, blockCounts, blockKernel, blockParams } from "./block.ts";
import { BLOCK_SIDE, LANES } from "./image.ts";
import { imageRowProduct, made, type Source, sourceOf, SWIGLU } from "./image_row.ts";
import { addends, type Operands, operandsOf, type Product } from "./problem.ts";
import { ROWS } from "./pack.ts";
import { BLOCK, partsOf } from "./software.ts";

/** The block for so many rows: what is loaded should be used often, and a number in 8 bits takes longer to load. */
export function blockFor(m: number, dtype: Dtype): Block {
  if (m > 2 * LANES && dtype !== "q8") return BLOCK;
  return { rows: m > LANES ? 2 * LANES : m > 4 ? LANES : m > 2 ? 4 : 2, quads: 4 };
}

/**
 * A product with a weight of which there is an image, on a processor that poses as a GPU; see `blockKernel`.
 *
 * What the left operand is made from, see `ProductOptions.from`, is computed on the way to its texture. A single row has a
 * kernel of its own.
 */
export function imageProduct(product: Product): void {
  const { b, out, m, n } = product;
  if (m === 1) return imageRowProduct(product);
  const { gpu } = out;
  const block = blockFor(m, b.dtype);
  const kernel = blockKernel(gpu, block, ["image", "image"], b.dtype, product);
  for (const { left, row, rows, quads } of imageLefts(product)) {
    gpu.run(
      kernel,
      [b.image!, left, ...addends(product), out],
      blockParams({ m, n, quads, row }),
      blockCounts(block, rows, n),
    );
  }
}

/** Rows of a left operand in the texture in which `blockKernel` reads them as an image. */
interface ImageLeft {
  /** The texture, which holds them until the next ones are asked for. */
  readonly left: GPUTexture;
  /** The first of them. */
  readonly row: number;
  /** Their number. */
  readonly rows: number;
  /** Quads of a row there. */
  readonly quads: number;
}

/** What of a product says how its left operand is read. */
type LeftProduct = Pick<Product, "a" | "b" | "m" | "k" | "precision" | "from">;

/** All rows of a left operand, as many at a time as a texture holds. */
export function* imageLefts(product: LeftProduct): Generator<ImageLeft> {
  const { a: { gpu }, m, k } = product;
  const quads = roundUp(k / 4, 4);
  for (const [row, rows] of partsOf(m, ROWS)) {
    const height = roundUp(rows, BLOCK_SIDE) / LANES;
    const left = namedTexture(gpu, "rows of a product", LANES * quads, height);
    fillRows(product, left, [row, rows], quads);
    yield { left, row, rows, quads };
  }
}

/** Puts rows of the left operand into a texture as `makeImage` does, with zeros beyond the last number and the last row again beyond it. */
function fillRows(
  product: LeftProduct,
  texture: GPUTexture,
  [row, rows]: readonly [number, number],
  quads: number,
): void {
  const { a, m, k, from } = product;
  const { gpu } = a;
  const norm = from && from !== "swiglu" ? from : undefined;
  const kernel = rowsKernel(gpu, sourceOf(product), operandsOf(product));
  gpu.run(kernel, norm ? [a, texture, norm.gain] : [a, texture], [
    ...[k / 4, quads, row, m],
    ...norm ? [f32(norm.eps)] : [],
  ], roundUp(rows, m > 2 * LANES ? BLOCK_SIDE : LANES));
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
struct Params { quads: u32, all: u32, row: u32, rows: u32${norm ? ", eps: f32" : ""} }
@group(0) @binding(${norm ? 3 : 2}) var<uniform> p: Params;
${
      entry(
        gpu,
        LANES,
        `let first = min(p.row + group, p.rows - 1u) * ${source === "swiglu" ? "2u * " : ""}p.quads;
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
