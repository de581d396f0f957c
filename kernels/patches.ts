import { columnSums } from "./column_sums.ts";
import { gather } from "./rows.ts";
import { ShapeError } from "./runtime/errors.ts";
import { f32 } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { vectors } from "./runtime/vectors.ts";
import { entry } from "./runtime/wgsl.ts";

const SIZE = 64;

/** Three numbers, one a colour. */
export type Rgb = readonly [number, number, number];

/**
 * Turns bytes into what a vision tower expects: (byte / 255 − mean) / std, per colour.
 *
 * @param bytes Pictures as bytes, four in a uint32 (the first in the lowest bits).
 * @param shape Their shape [N, 3, height, width]; a picture's colour has a multiple of 4 pixels.
 * @param mean Mean of each colour, of pixels in 0…1.
 * @param std Standard deviation of each colour.
 * @returns float32 of that shape.
 */
export function normalizePixels(
  bytes: Tensor,
  shape: readonly number[],
  mean: Rgb,
  std: Rgb,
): Tensor {
  const { gpu } = bytes;
  const [count = 0, colors, height = 0, width = 0] = shape;
  const plane = height * width / 4;
  const n = count * 3 * plane;
  if (colors !== 3 || !Number.isInteger(plane) || bytes.dtype !== "uint32" || bytes.size !== n) {
    throw new ShapeError(
      `normalizePixels: ${bytes.dtype} [${bytes.shape}] is not pictures [${shape}] as bytes.`,
    );
  }
  const y = gpu.empty(shape, "float32", "pixels");
  const kernel = gpu.kernel("normalize_pixels", () => `
struct Params { n: u32, plane: u32, m0: f32, m1: f32, m2: f32, s0: f32, s1: f32, s2: f32 }
@group(0) @binding(0) var<storage, read> bytes: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let word = bytes[i];
    let v = vec4f(vec4u(word, word >> 8u, word >> 16u, word >> 24u) & vec4u(255u)) / 255.0;
    let color = i / p.plane % 3u;
    let mean = select(select(p.m2, p.m1, color == 1u), p.m0, color == 0u);
    let deviation = select(select(p.s2, p.s1, color == 1u), p.s0, color == 0u);
    y[i] = (v - mean) / deviation;
  }`,
    )
  }`);
  const params = [n, plane, ...[...mean, ...std].map(f32)];
  gpu.run(kernel, [bytes, y], params, Math.ceil(n / SIZE));
  return y;
}

/**
 * Cuts pictures into patches, each a row in the order of a convolution's weight [width, 3, patch, patch], so that the
 * convolution becomes a linear layer. No gradient flows to pixels.
 *
 * @param pixels Square pictures [N, 3, side, side].
 * @param patch Side of a patch; it must divide the picture's.
 * @returns [N · (side / patch)², 3 · patch²], patches row by row.
 */
export function patchify(pixels: Tensor, patch: number): Tensor {
  const { gpu } = pixels;
  const [count = 0, colors, height = 0, side = 0] = pixels.shape;
  if (pixels.shape.length !== 4 || colors !== 3 || height !== side || side % patch !== 0) {
    throw new ShapeError(
      `patchify: pictures [${pixels.shape}] cannot be cut into square patches of ${patch}.`,
    );
  }
  const grid = side / patch;
  const y = gpu.empty([count * grid * grid, 3 * patch * patch], "float32", "patches");
  const v = vectors(patch);
  const kernel = gpu.kernel(`patchify/${v.size}`, () =>
    `${v.code}
struct Params { n: u32, side: u32, height: u32, across: u32, grid: u32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        // walks through the pictures: x = picture, color, py, dy, px, dx; y = picture, py, px, color, dy, dx
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let dx = i % p.across;
    let px = i / p.across % p.grid;
    let line = i / (p.across * p.grid);
    let dy = line % p.height;
    let py = line / p.height % p.grid;
    let plane = line / p.side;
    let color = plane % 3u;
    let place = (plane / 3u * p.grid + py) * p.grid + px;
    y[((place * 3u + color) * p.height + dy) * p.across + dx] = x[i];
  }`,
      )
    }`);
  const n = pixels.size / v.size;
  gpu.run(kernel, [pixels, y], [n, side, patch, patch / v.size, grid], Math.ceil(n / SIZE));
  return y;
}

/**
 * Puts a class token before the patches of each picture and adds position embeddings, as CLIP does.
 *
 * @param patches Embedded patches [N · P, width].
 * @param classToken [width]
 * @param positions [1 + P, width]
 * @returns [N · (1 + P), width]
 */
export function clipEmbeddings(patches: Tensor, classToken: Tensor, positions: Tensor): Tensor {
  const { gpu, width } = patches;
  const tokens = positions.rows;
  const count = patches.rows / (tokens - 1);
  if (!Number.isInteger(count) || positions.width !== width || classToken.size !== width) {
    throw new ShapeError(
      `clipEmbeddings: patches [${patches.shape}], a class token [${classToken.shape}] and ` +
        `positions [${positions.shape}] do not fit.`,
    );
  }
  const v = vectors(width);
  const y = gpu.empty([count * tokens, width]);
  const kernel = gpu.kernel(`clip_embeddings/${v.size}`, () =>
    `${v.code}
struct Params { n: u32, width: u32, tokens: u32 }
@group(0) @binding(0) var<storage, read> patches: array<T>;
@group(0) @binding(1) var<storage, read> classToken: array<T>;
@group(0) @binding(2) var<storage, read> positions: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let row = i / p.width;
    let column = i - row * p.width;
    let picture = row / p.tokens;
    let token = row - picture * p.tokens;
    var v = positions[token * p.width + column];
    if (token == 0u) { v += classToken[column]; } else { v += patches[i - (picture + 1u) * p.width]; }
    y[i] = v;
  }`,
      )
    }`);
  const n = y.size / v.size;
  const params = [n, width / v.size, tokens];
  gpu.run(kernel, [patches, classToken, positions, y], params, Math.ceil(n / SIZE));
  gpu.tape?.record("clip_embeddings", y, [patches, classToken, positions], [], (dy, tape) => {
    const pick = (first: number, each: number) => {
      const rows = Uint32Array.from(
        { length: count * each },
        (_, i) => Math.floor(i / each) * tokens + first + i % each,
      );
      return gpu.tensor(rows, [rows.length], "rows");
    };
    if (patches.requiresGrad) {
      const { grad, accumulate } = tape.target(patches);
      gather(dy, pick(1, tokens - 1), grad, accumulate);
    }
    if (classToken.requiresGrad) {
      const { grad, accumulate } = tape.target(classToken);
      const first = gpu.empty([count, width]);
      gather(dy, pick(0, 1), first);
      columnSums("sum", "t0[i]", [first], grad, accumulate);
    }
    if (positions.requiresGrad) {
      const { grad, accumulate } = tape.target(positions);
      columnSums("sum", "t0[i]", [dy.view([count, tokens * width])], grad, accumulate);
    }
  });
  return y;
}
