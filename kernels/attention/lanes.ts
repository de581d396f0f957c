import type { Gpu } from "../runtime/gpu.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { namedTexture } from "../runtime/textures.ts";
import { entry } from "../runtime/wgsl.ts";
import { TILE } from "../sequences.ts";
import { lines } from "./shape.ts";

/**
 * The kernels of the lanes family are for processors that pose as a GPU with subgroups of 8 lanes. A lane has a row
 * (a query, or a key) all in registers; the rows of the other side pass by eight at a time, one loaded by each lane from
 * a texture, where loads are cheapest, and shown to all lanes number by number.
 */
export const LANES = 8;

/** Whether a device's attention is that of the lanes family, unless told. */
export function takesLanes({ info }: Gpu, family?: "tiled" | "lanes"): boolean {
  return family ? family === "lanes" : info.software && info.subgroupSize === LANES;
}

/** Rows of a texture; later rows of a tensor stand beside the first ones. */
const HEIGHT = 16384;

/** Texels of which rows are whole multiples if WebGPU is to copy them, which is faster than to store them one by one. */
const COPIED = 256 / 16;

/** Copies the rows of a tensor into the device's texture of that name, which grows as needed. */
export function toTexture(name: string, x: Tensor): GPUTexture {
  const { gpu, rows } = x;
  const stride = x.width / 4;
  const width = stride * Math.ceil(rows / HEIGHT), height = Math.min(rows, HEIGHT);
  const texture = namedTexture(gpu, name, width, height);
  if (stride % COPIED === 0) {
    for (let row = 0; row < rows; row += HEIGHT) {
      using part = x.view([Math.min(HEIGHT, rows - row), x.width], row * x.width);
      gpu.copyToTexture(part, 0, x.width, texture, [row / HEIGHT * stride, 0]);
    }
    return texture;
  }
  const kernel = gpu.kernel("rows_to_texture", () => `
struct Params { rows: u32, stride: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var texture: texture_storage_2d<rgba32float, write>;
@group(0) @binding(2) var<uniform> p: Params;
${
    entry(
      gpu,
      64,
      `let q = workgroup.x * 64u + lane;
  if (q < p.stride) {
    for (var row = workgroup.y; row < p.rows; row += workgroups.y) {
      let at = vec2u(q + row / ${HEIGHT}u * p.stride, row % ${HEIGHT}u);
      textureStore(texture, at, x[row * p.stride + q]);
    }
  }`,
    )
  }`);
  gpu.run(kernel, [x, texture], [rows, stride], [Math.ceil(stride / 64), Math.min(rows, 4096)]);
  return texture;
}

/** WGSL that sets `name` to where a row begins in a texture whose rows are `stride` texels. */
export function rowTexel(name: string, row: string, stride: string): string {
  return `let ${name} = vec2u(${row} / ${HEIGHT}u * ${stride}, ${row} % ${HEIGHT}u);`;
}

/** WGSL of the type of such a texture. A storage texture is read without a sampler's work. */
export const ROWS_TEXTURE = "texture_storage_2d<rgba32float, read>";

/** WGSL for texel `d` of the part of a row that begins at texel `part`. */
export function texel(texture: string, at: string, part: string, d: number): string {
  return `textureLoad(${texture}, ${at} + vec2u(${part} + ${d}u, 0u))`;
}

/** WGSL that finds the rows of a subgroup: `first` row, their `count`, their `tile`, and this lane's row `own`. */
export const LANE_ROWS = `let tile = tiles[workgroup.x / ${TILE / LANES}u];
  let skipped = (workgroup.x % ${TILE / LANES}u) * ${LANES}u;
  let first = tile.x + skipped;
  let count = min(max(tile.y, skipped) - skipped, ${LANES}u);
  let own = first + lane;
  let own_row = min(own, tile.x + tile.y - 1u);`;

/** WGSL over the numbers of eight passing rows: `each` gets the vec4 `d`, its component, the lane `j` that has it, and its value. */
export function passing(
  vecs: number,
  load: (d: number) => string,
  each: (d: number, c: string, j: number, value: string) => string,
): string {
  return lines(vecs, (d) =>
    `{ let x = ${load(d)};
    ${
      [..."xyzw"].map((c) =>
        Array.from(
          { length: LANES },
          (_, j) => each(d, c, j, `subgroupBroadcast(x.${c}, ${j}u)`),
        ).join(" ")
      ).join("\n")
    }
    }`);
}

/** WGSL for each of the passing rows. */
export function perLane(f: (j: number) => string): string {
  return lines(LANES, f);
}
