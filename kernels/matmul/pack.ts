import type { Gpu } from "../runtime/gpu.ts";
import { type Kernel, roundUp } from "../runtime/kernel.ts";
import { HALF, type Precision, reader } from "../runtime/precision.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { namedTexture } from "../runtime/textures.ts";
import { entry } from "../runtime/wgsl.ts";
import { BLOCK_SIDE, LANES } from "./image.ts";

/** Rows of an operand that a texture holds at once. */
export const ROWS = 512;
/** Steps of k that a texture holds at once. */
export const STEPS = 2048;
/** Up to so many steps of k there are zeros. */
const BLOCK_STEPS = 8;
/** Texels beside each other: what is read one after another lies in lines of the cache that follow each other. */
const WIDTH = 16;
/** Texels below each other. */
const HEIGHT = ROWS * STEPS / 4 / WIDTH;
/** Rows that lie beside each other where they lie across; parts of an operand begin at multiples. */
export const PANEL_ROWS = 4 * WIDTH;

/** A matrix of `rows` rows of `k` numbers: the left operand of a product, or the transposed right one. */
export interface Operand {
  /** What holds it. */
  readonly tensor: Tensor;
  /** At which number it begins there. */
  readonly first: number;
  /** Its rows. */
  readonly rows: number;
  /** The length of a row. */
  readonly k: number;
  /** Whether it lies there as [k, rows], else as [rows, k]. */
  readonly across: boolean;
  /** To what it is rounded. */
  readonly precision: Precision;
  /** How many of its last rows follow again up to whole blocks: what computes them again stores them at the same place. */
  readonly again: 1 | 4;
}

/** A part of an operand; it begins at multiples of `PANEL_ROWS` and of as many steps. */
export interface Panel {
  /** Its first row. */
  readonly row: number;
  /** Its number of rows, at most `ROWS`. */
  readonly rows: number;
  /** Its first step of k. */
  readonly start: number;
  /** Its number of steps, at most `STEPS`. */
  readonly steps: number;
}

/** Whether a device reads packed operands: with 8 lanes to a subgroup, and textures that are high enough. */
export function readsPacked({ info, device }: Gpu): boolean {
  return info.subgroupSize === LANES && device.limits.maxTextureDimension2D >= HEIGHT;
}

/** Whether an operand can be packed: what lies beside each other in its buffer goes four by four. */
export function packs({ rows, k, across }: Pick<Operand, "rows" | "k" | "across">): boolean {
  return (across ? rows : k) % 4 === 0;
}

/** WGSL of where the texels of `quad` of a row's k lie. */
export const along = (quad: string, row: string): string =>
  `vec2u((${quad}) % ${WIDTH}u, (${quad}) / ${WIDTH}u * ${ROWS}u + ${row})`;

/** WGSL of where the texels of four rows lie, at a step of k. */
export const across = (four: string, step: string): string =>
  `vec2u((${four}) % ${WIDTH}u, (${four}) / ${WIDTH}u * ${STEPS}u + ${step})`;

/**
 * Puts part of an operand into the texture of that name, where `along` or `across` says.
 *
 * @param before Rows that lie before it in the texture, a multiple of `PANEL_ROWS`.
 */
export function pack(name: string, operand: Operand, panel: Panel, before = 0): GPUTexture {
  const { tensor, first, rows, k, precision } = operand;
  const { gpu } = tensor;
  const texture = namedTexture(gpu, name, WIDTH, HEIGHT);
  // lines are what lies beside each other in the buffer
  const [lines, width] = operand.across ? [k, rows] : [rows, k];
  const [line, count, column, columns] = operand.across
    ? [panel.start, panel.steps, panel.row, panel.rows]
    : [panel.row, panel.rows, panel.start, panel.steps];
  const whole = operand.across ? BLOCK_STEPS : BLOCK_SIDE;
  const height = operand.across ? STEPS : ROWS;
  const place = operand.across ? before / PANEL_ROWS * height : before;
  let done = 0;
  if (tensor.dtype === "float32" && precision === "float32" && width % PANEL_ROWS === 0) {
    using part = tensor.view([count, width], first + line * width);
    for (let x = 0; x < columns; x += PANEL_ROWS) {
      gpu.copyToTexture(part, column + x, PANEL_ROWS, texture, [
        0,
        place + x / PANEL_ROWS * height,
      ]);
    }
    done = count - count % whole;
    if (done === count) return texture;
  }
  const texels = roundUp(columns, operand.across ? BLOCK_SIDE : BLOCK_STEPS) / 4;
  gpu.run(
    packKernel(operand),
    [tensor, texture],
    [first / 4, lines, width / 4, line + done, column / 4, place + done, operand.again],
    [Math.ceil(texels / LANES), Math.ceil((roundUp(count, whole) - done) / LANES)],
  );
  return texture;
}

/** Copies texel by texel, and makes up what lies beyond. */
function packKernel({ tensor, precision, across: isAcross }: Operand): Kernel {
  const { gpu, dtype } = tensor;
  const a = reader("a", dtype, precision);
  const value = isAcross
    ? "select(vec4f(), select(v, v.wwww, texel >= p.width && p.again == 1u), line < p.lines)"
    : "select(vec4f(), v, texel < p.width)";
  const key = `matmul_pack/${isAcross ? "across" : "along"}/${dtype}/${precision}`;
  return gpu.kernel(key, () =>
    `${HALF[precision]}${a.code}
@group(0) @binding(0) var<storage, read> a: array<${a.type(4)}>;
@group(0) @binding(1) var texture: texture_storage_2d<rgba32float, write>;
struct Params { first: u32, lines: u32, width: u32, line: u32, texel: u32, place: u32, again: u32 }
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        64,
        `let row = workgroup.y * ${LANES}u + sg;
  let line = p.line + row;
  let source = ${
          isAcross
            ? "min(line, p.lines - 1u)"
            : "select(line, p.lines - p.again + line % p.again, line >= p.lines)"
        };
  let x = workgroup.x * ${LANES}u + sgi;
  let texel = p.texel + x;
  let v = ${a.read(4, "p.first + source * p.width + min(texel, p.width - 1u)")};
  textureStore(texture, vec2u(x % ${WIDTH}u, p.place + x / ${WIDTH}u * ${
          isAcross ? STEPS : ROWS
        }u + row), ${value});`,
      )
    }`);
}
