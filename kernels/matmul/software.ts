import type { Gpu } from "../runtime/gpu.ts";
import { range } from "../runtime/wgsl.ts";
import { type Kernel, roundUp } from "../runtime/kernel.ts";
import type { Reader } from "../runtime/precision.ts";
import { DEPTH, leftTexture, panelTexel, ROWS } from "./left_operand.ts";
import { ADD, addends, additions, type Operands, operandsOf, type Product } from "./problem.ts";

/** Columns of C that a workgroup computes; every lane has a row of them. */
export const COLUMNS = 32;
/** Columns whose sums are in registers at a time. */
const GROUP = 16;
/** Steps of k between two barriers. */
const CHUNK = 32;
/** Steps of k in a dispatch, all of them text: the compiler's work grows with it, the passes over C shrink with it. */
const SLAB = 128;
/**
 * Subgroups in a workgroup, each with 8 rows of C; together they load a tile of the right operand. The first and the third
 * suit pictures of 197 rows, the last few rows.
 */
const SUBGROUPS = [50, 32, 25, 16];
/** Rows in whose time a workgroup does what is not for its rows: loading the tile. */
const TILE_ROWS = 64;
/** Multiplications below which workgroups are the smallest, so that there are enough of them for all processors. */
const SMALL = 2 ** 25;

/** Whether this kernel takes a product: rows of four numbers, and 8 lanes to a subgroup. */
export function softwareTakes(
  { info }: Gpu,
  { layout, n, m, k }: Pick<Product, "layout" | "m" | "n" | "k">,
): boolean {
  return info.subgroupSize === 8 && n % 4 === 0 && (layout === "TN" ? m : k) % 4 === 0;
}

/**
 * A product on a processor that poses as a GPU with 8 lanes.
 *
 * There a load at a varying address is a scalar load for each lane, cheapest from a storage texture, and a load from workgroup
 * memory at an index known to the compiler is free. So the left operand lies in a texture, a lane holds a row of 32
 * columns of C, the right operand passes through workgroup memory, and k is unrolled as text, a slab for each dispatch.
 */
export function softwareProduct(product: Product): void {
  const { layout, b, out, m, n, k } = product;
  const { gpu } = out;
  const part = wholeOf(product);
  const kernel = slabKernel(gpu, operandsOf(product), part);
  const block = 8 * part.subgroups, most = ROWS - ROWS % block;
  for (let row = 0; row < m; row += most) {
    const rows = Math.min(most, m - row);
    for (let start = 0; start < k; start += DEPTH) {
      const depth = roundUp(Math.min(DEPTH, k - start), SLAB);
      const texture = leftTexture(product, row, rows, start, depth);
      for (let step = 0; step < depth; step += SLAB) {
        const add = start + step === 0 ? additions(product) : ADD.out;
        gpu.run(
          kernel,
          [b, texture, ...addends(product), out],
          [row, rows, n, k, start + step, ...panelTexel(step), add, layout === "NT" ? 0 : 1],
          [Math.ceil(rows / block), Math.ceil(n / COLUMNS)],
        );
      }
    }
  }
}

/** WGSL by which a workgroup finds its part of the work, and its extents. */
export interface SlabPart {
  /** Names it in the kernel's key. */
  readonly name: string;
  /** Subgroups in a workgroup. */
  readonly subgroups: number;
  /** Steps of k in a dispatch. */
  readonly slab: number;
  /** Binding 5 where there is one. */
  readonly declarations: string;
  /** Parameters after the others, each with a comma before it. */
  readonly params: string;
  /** Statements before all others. */
  readonly code: string;
  /** The first vector of the right operand, as the beginning of a sum. */
  readonly firstB: string;
  /** The number of rows of the result above the matrix, as the beginning of a sum. */
  readonly above: string;
}

const whole = (subgroups: number): SlabPart => ({
  name: `whole/${subgroups}`,
  subgroups,
  slab: SLAB,
  declarations: "",
  params: "",
  code: "",
  firstB: "",
  above: "",
});
const WHOLE = SUBGROUPS.map(whole);

/** The workgroups that take the least time. */
function wholeOf({ m, n, k }: Product): SlabPart {
  if (m * n * k < SMALL) return WHOLE.at(-1)!;
  const cost = ({ subgroups }: SlabPart) =>
    Math.ceil(m / subgroups / 8) * (8 * subgroups + TILE_ROWS);
  return WHOLE.reduce((best, part) => cost(part) < cost(best) ? part : best);
}

/** C += A·B for one slab of k, with A in the texture. Its uniform stands after the result and what `part` binds. */
export function slabKernel(
  gpu: Gpu,
  { key, code, b }: Operands,
  part: SlabPart,
): Kernel {
  return gpu.kernel(`matmul_software/${part.name}${key}`, () => {
    const threads = 8 * part.subgroups;
    const columns = range(COLUMNS), groups = range(COLUMNS / 4);
    // A shuffle of every lane with itself keeps the compiler from computing the sums again after the barrier.
    const freeze = columns.map((i) => `c${i} = subgroupShuffle(c${i}, lane);`).join(" ");
    const chunks = range(part.slab / CHUNK).map((chunk) => `
  workgroupBarrier();
  ${multiplyChunk(chunk)}
  ${freeze}`);
    return `${code}
@group(0) @binding(0) var<storage, read> b: array<${b.type(4)}>;
@group(0) @binding(1) var texture: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
${part.declarations}
struct Params {
  row: u32, rows: u32, n: u32, k: u32, start: u32, x: u32, y: u32, add: u32, across: u32${part.params}
}
@group(0) @binding(${part.declarations ? 6 : 5}) var<uniform> p: Params;
var<workgroup> tile: array<vec4f, ${COLUMNS * part.slab / 4}>;
@compute @workgroup_size(${threads}) fn main(@builtin(workgroup_id) workgroup: vec3u,
  @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let t = subgroup * 8u + lane;
  // What lies beyond the last row or column is computed and stored as the last one, again: cheaper than a condition.
  let row = min(workgroup.x * ${threads}u + t, p.rows - 1u);
  let width = p.n / 4u;
  let group = workgroup.y * ${COLUMNS / 4}u;
  ${part.code}
  ${loadTile(threads, part, b)}
  let first = (${part.above}p.row + row) * width;
  let more = (p.add & ${ADD.out}u) != 0u;
  ${
      groups.map((g) =>
        `let i${g} = min(group + ${g}u, width - 1u);
  let before${g} = select(vec4f(), out[first + i${g}], more);`
      ).join("\n  ")
    }
  ${columns.map((i) => `var c${i} = 0.0;`).join(" ")}
  ${chunks.join("")}
  workgroupBarrier();
  ${
      groups.map((g) =>
        `var sum${g} = vec4f(${range(4).map((i) => `c${4 * g + i}`).join(", ")}) + before${g};`
      ).join("\n  ")
    }
  if (p.add > ${ADD.out}u) {
    ${
      groups.map((g) =>
        `if ((p.add & ${ADD.bias}u) != 0u) { sum${g} += bias[i${g}]; }
    if ((p.add & ${ADD.residual}u) != 0u) { sum${g} += residual[first + i${g}]; }`
      ).join("\n    ")
    }
  }
  ${groups.map((g) => `out[first + i${g}] = sum${g};`).join("\n  ")}
}`;
  });
}

/**
 * WGSL that puts a slab of 32 columns of B into `tile` [chunk][column][k / 4], from B [n, k] or across from B [k, n].
 * Each lane takes blocks of four columns and four steps of k.
 */
function loadTile(threads: number, { slab, firstB }: SlabPart, b: Reader): string {
  const depth = slab / 4, blocks = COLUMNS / 4 * depth, quads = CHUNK / 4;
  const along = (i: number) => `(block * 4u + ${i}u) * (p.k / 4u) + min(at, p.k / 4u - 1u)`;
  const across = (i: number) => `min(at * 4u + ${i}u, p.k - 1u) * width + block`;
  const load = range(4).map((i) =>
    `let r${i} = ${b.read(4, `${firstB}select(${along(i)}, ${across(i)}, across)`)};`
  );
  const store = [..."xyzw"].map((x, i) =>
    `tile[to + ${quads * i}u] = select(r${i}, vec4f(r0.${x}, r1.${x}, r2.${x}, r3.${x}), across);`
  );
  const rounds = range(Math.ceil(blocks / threads)).map((round) => {
    const guard = (round + 1) * threads > blocks ? `if (e < ${blocks}u) ` : "";
    return `{ let e = t + ${round * threads}u;
  ${guard}{
    let g = e / ${depth}u; let q = e % ${depth}u;
    let block = min(group + g, width - 1u); let at = p.start / 4u + q;
    ${load.join("\n    ")}
    let to = q / ${quads}u * ${COLUMNS * quads}u + g * ${4 * quads}u + q % ${quads}u;
    ${store.join("\n    ")}
  } }`;
  });
  return `let across = p.across != 0u;
  ${rounds.join("\n  ")}`;
}

/** WGSL that adds a chunk's products to c0…c31, all texels first, then arithmetic alone. */
function multiplyChunk(chunk: number): string {
  const per = CHUNK / 4, quads = range(per);
  const loads = quads.map((q) =>
    `let a${q} = textureLoad(texture, vec2u(p.x + ${chunk * per + q}u, p.y + row));`
  );
  const blocks: string[] = [];
  for (let first = 0; first < COLUMNS; first += GROUP) {
    const columns = range(GROUP).map((i) => first + i);
    for (const q of quads) {
      blocks.push(`{
      ${columns.map((i) => `let b${i} = tile[${(chunk * COLUMNS + i) * per + q}];`).join(" ")}
      ${
        [..."xyzw"].map((c) => columns.map((i) => `c${i} += b${i}.${c} * a${q}.${c};`).join(" "))
          .join("\n      ")
      }
    }`);
    }
  }
  return `{
    ${loads.join("\n    ")}
    ${blocks.join("\n    ")}
  }`;
}
