import { roundUp } from "../runtime/kernel.ts";
import { isHalf, reader } from "../runtime/precision.ts";
import type { Dtype, Tensor } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";

/** Rows of a matrix that lie side by side in its image, one for each lane of a subgroup. */
export const LANES = 8;

/** Rows and columns of the largest block of `blockKernel`; rows of an image come in multiples of these. */
export const BLOCK_SIDE = 4 * LANES;

/** How a kind of numbers lies in an image's texels, 16 bytes each. */
export interface ImageFormat {
  /** Format of the texture. */
  readonly texel: "rgba32float" | "rgba32uint";
  /** Numbers in a texel. */
  readonly numbers: number;
}

/** The format of a matrix of some kind of numbers. */
export function imageFormat(dtype: Dtype): ImageFormat {
  if (dtype === "q8") return { texel: "rgba32uint", numbers: 16 };
  return isHalf(dtype) ? { texel: "rgba32uint", numbers: 8 } : { texel: "rgba32float", numbers: 4 };
}

/** WGSL for the four numbers at place `i` of a texel; in 8 bits without their scale. It needs `QUADS`. */
export function quad(dtype: Dtype, texel: string, i: number): string {
  if (dtype === "q8") return `bytes(${texel}.${"xyzw"[i]})`;
  if (!isHalf(dtype)) return texel;
  return `unpack4_${dtype}(vec2u(${texel}.${"xz"[i]}, ${texel}.${"yw"[i]}))`;
}

/** WGSL functions for `quad`, beside those of half precision. */
export const QUADS = `
fn bytes(word: u32) -> vec4f {
  return vec4f(vec4i(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}
`;

/** Texels of a row of `k` numbers; in 8 bits each 128 numbers have one before them, for the scales of their blocks. */
export function rowTexels(dtype: Dtype, k: number): number {
  return Math.ceil(k / imageFormat(dtype).numbers) + (dtype === "q8" ? Math.ceil(k / 128) : 0);
}

/** Bytes of an image. */
export function imageBytes({ width, height }: GPUTexture): number {
  return 16 * width * height;
}

/**
 * A copy of a weight [n, k] in a texture, for `imageProduct`: texel t of row r lies at (8t + r mod 8, r div 8), so that
 * what a subgroup reads at once lies together, and what it reads next follows. The last four rows follow again up to whole blocks.
 *
 * A processor that poses as a GPU reads a buffer number by number and each of them for each lane; from a storage
 * texture a lane has four at once, which makes a product of few rows as fast as memory.
 *
 * @param image The texture to fill again; made unless given.
 * @returns Nothing where the device would not gain by it or cannot hold it.
 */
export function makeImage(weight: Tensor, image?: GPUTexture): GPUTexture | undefined {
  const { gpu, dtype, rows: n, width: k } = weight;
  const { info, device } = gpu;
  if (!info.software || info.subgroupSize !== LANES || n % 4 + k % 4 > 0) return undefined;
  const { texel } = imageFormat(dtype);
  const [width, height] = [LANES * rowTexels(dtype, k), roundUp(n, BLOCK_SIDE) / LANES];
  const ofRows = 2 * roundUp(k, 16); // the width of the left operand's texture, see `imageProduct`
  if (Math.max(width, height, ofRows) > device.limits.maxTextureDimension2D) return undefined;
  image ??= device.createTexture({
    size: [width, height],
    format: texel,
    usage: GPUTextureUsage.STORAGE_BINDING,
    label: "image of weights",
  });
  const kernel = gpu.kernel(`matmul_image_fill/${dtype}`, () => `
@group(0) @binding(0) var<storage, read> b: array<${reader("b", dtype, "float32").type(4)}>;
@group(0) @binding(1) var image: texture_storage_2d<${texel}, write>;
struct Params { n: u32, quads: u32, texels: u32 }
@group(0) @binding(2) var<uniform> p: Params;
${imageTexel(dtype)}
${
    entry(
      gpu,
      64,
      `let i = group * 64u + lane;
  let row = i / p.texels;
  let t = i % p.texels;
  textureStore(image, vec2u(t * ${LANES}u + row % ${LANES}u, row / ${LANES}u), texel(select(row, p.n - 4u + row % 4u, row >= p.n), t));`,
    )
  }`);
  const texels = width / LANES;
  gpu.run(kernel, [weight, image], [n, k / 4, texels], Math.ceil(height * width / 64));
  return image;
}

/** WGSL of `texel(row, t)`, what an image holds. */
function imageTexel(dtype: Dtype): string {
  if (dtype === "q8") {
    return `fn texel(row: u32, t: u32) -> vec4u {
  let blocks = p.quads / 8u;
  let first = row * blocks;
  if (t % 9u > 0u) {
    let part = t / 9u * 8u + t % 9u - 1u;
    let at = (first + part / 2u) * 9u + 1u + part % 2u * 4u;
    return vec4u(b[at], b[at + 1u], b[at + 2u], b[at + 3u]);
  }
  let block = t / 9u * 4u;
  return vec4u(${[0, 1, 2, 3].map((i) => `b[(first + min(block + ${i}u, blocks - 1u)) * 9u]`)});
}`;
  }
  return isHalf(dtype)
    ? `fn texel(row: u32, t: u32) -> vec4u {
  let at = row * p.quads + 2u * t;
  return vec4u(b[at], select(vec2u(), b[min(at + 1u, p.n * p.quads - 1u)], 2u * t + 1u < p.quads));
}`
    : "fn texel(row: u32, t: u32) -> vec4f { return b[row * p.quads + t]; }";
}
