import { activate } from "../activation.ts";
import type { Gpu } from "../runtime/gpu.ts";
import type { Kernel } from "../runtime/kernel.ts";
import { HALF, isHalf } from "../runtime/precision.ts";
import type { Dtype } from "../runtime/tensor.ts";
import { entry, range } from "../runtime/wgsl.ts";
import { BLOCK_SIDE, imageFormat, LANES, quad, QUADS } from "./image.ts";
import { across, along } from "./pack.ts";
import { ADD, additions, endOfKey, type Epilogue, type ProductPart } from "./problem.ts";

/** The part of a result that a subgroup of eight lanes computes. */
export interface Block {
  /** Its rows; a power of two, and below 8 only where an image of the left operand has no more. */
  readonly rows: number;
  /** Quads of k that are multiplied at a time. */
  readonly quads: 2 | 4;
}

/** How an operand lies in its texture: as `pack` puts it there, or as `makeImage` does. */
export type Packing = "along" | "across" | "image";

/** How both operands lie. */
export type Packings = readonly [left: Packing, right: Packing];

/** Columns that a lane has, beside each other. */
const LANE_COLUMNS = BLOCK_SIDE / LANES;
/** Rows whose sums are in registers at a time, with those of all columns; more would not fit. */
const ROW_GROUP = 4;

const WHOLE: ProductPart = {
  name: "",
  declarations: "",
  params: "",
  code: "let begin = 0u; let end = p.quads; let above = 0u; let before = 0u;",
};

/** The parameters that all such kernels begin with. */
export interface BlockExtents {
  /** Rows of the result. */
  readonly m: number;
  /** Columns of the result. */
  readonly n: number;
  /** Quads of k in the left operand's texture; a multiple of the block's. */
  readonly quads: number;
  /** The row of the result that the left operand's texture begins with. */
  readonly row?: number;
  /** The column of the result that the right operand's texture begins with. */
  readonly column?: number;
}

/** The parameters in the order of the kernel. */
export function blockParams({ m, n, quads, row = 0, column = 0 }: BlockExtents): number[] {
  return [m, n, quads, row, column];
}

/** Subgroups of a workgroup. */
function subgroupsOf({ rows }: Block): number {
  return rows > LANES ? 1 : 4;
}

/** Workgroups for so many rows and columns. */
export function blockCounts(block: Block, rows: number, columns: number): [number, number] {
  return [Math.ceil(columns / (BLOCK_SIDE * subgroupsOf(block))), Math.ceil(rows / block.rows)];
}

/**
 * C = A · Bᵀ, plus what is to be added, of operands that lie in textures, on a processor that poses as a GPU.
 *
 * There a load at a varying address is dear, a texel of four numbers the cheapest, and a number of another lane costs one
 * instruction. So each lane loads rows of B for columns of its own and rows of A for all lanes to be shown, and a few
 * texels make many sums. Those of four rows at a time are in registers while all quads at hand are added to them. What
 * lies beyond the last row or column is computed and stored as the last one, again: cheaper than a condition.
 *
 * It binds B's texture, A's, bias, residual, C, and what `part` declares. The code of `part` sets `begin` … `end`, the quads to
 * sum, `above`, the rows of the result above these, and `before`, the rows of B's texture before these.
 *
 * @param packings How the operands lie.
 * @param dtype Of B; A is in float32.
 * @param epilogue What is done with the product.
 */
export function blockKernel(
  gpu: Gpu,
  block: Block,
  packings: Packings,
  dtype: Dtype,
  epilogue: Epilogue,
  part = WHOLE,
): Kernel {
  const { rows, quads } = block;
  const add = additions(epilogue);
  const key = `matmul_block/${part.name}${rows}/${quads}/${packings.join("/")}/${dtype}/${add}${
    endOfKey(epilogue)
  }`;
  // lanes of a subgroup all read before they store, but a subgroup beyond the last would add once more
  const once = add & ADD.out && subgroupsOf(block) > 1;
  return gpu.kernel(key, () =>
    `${isHalf(dtype) ? HALF[dtype] : ""}
@group(0) @binding(0) var image: texture_storage_2d<${imageFormat(dtype).texel}, read>;
@group(0) @binding(1) var rows: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
${part.declarations}
struct Params { m: u32, n: u32, quads: u32, row: u32, column: u32${part.params} }
@group(0) @binding(${part.declarations ? 6 : 5}) var<uniform> p: Params;
${QUADS}${activate(epilogue.activation, "vec4f")}
${
      entry(
        gpu,
        LANES * subgroupsOf(block),
        `let top = workgroup.y * ${rows}u;
  let last = (p.n - p.column - 1u) / ${BLOCK_SIDE}u;
  let own = workgroup.x * ${subgroupsOf(block)}u + sg;
  let left = min(own, last) * ${BLOCK_SIDE}u;
  let firstRow = p.row + top;
  ${part.code}
  let column = min((p.column + left) / 4u + sgi, p.n / 4u - 1u);
  ${
          range(rows).map((j) =>
            `let i${j} = (above + min(firstRow + ${j}u, p.m - 1u)) * (p.n / 4u) + column;
  ${perColumn((e) => `var c${j}_${e} = 0.0;`)}`
          ).join("\n  ")
        }
  for (var q = begin; q < end; q += ${quads}u) {
    ${loadRows(block, packings[0])}
    ${packings[1] === "image" ? loadImage(block, dtype) : loadColumns(block, packings[1])}
    ${products(block, packings)}
  }
  ${add & ADD.out ? range(rows).map((j) => `let old${j} = out[i${j}];`).join("\n  ") : ""}
  ${add & ADD.bias ? "let biases = bias[column];" : ""}
  ${once ? "if (own <= last) {" : ""}
  ${
          range(rows).map((j) =>
            `out[i${j}] = activate(vec4f(${
              range(LANE_COLUMNS).map((e) => `c${j}_${e}`).join(", ")
            })${add & ADD.out ? ` + old${j}` : ""}${add & ADD.bias ? " + biases" : ""}${
              add & ADD.residual ? ` + residual[i${j}]` : ""
            });`
          ).join("\n  ")
        }
  ${once ? "}" : ""}`,
      )
    }`);
}

function perColumn(f: (column: number) => string): string {
  return range(LANE_COLUMNS).map(f).join(" ");
}

/** WGSL of the quads at hand of A: `x[quad]_[eight]`, a row in each lane, or across `x[quad]_[step]`, four rows in each. */
function loadRows({ rows, quads }: Block, packing: Packing): string {
  const eights = Math.ceil(rows / LANES);
  return range(quads).map((q) =>
    range(packing === "across" ? 4 : eights).map((i) =>
      `let x${q}_${i} = textureLoad(rows, ${
        packing === "image"
          ? `vec2u((q + ${q}u) * ${LANES}u + sgi, workgroup.y * ${eights}u + ${i}u)`
          : packing === "along"
          ? along(`q + ${q}u`, `top + ${i * LANES}u + sgi`)
          : across("top / 4u + sgi", `(q + ${q}u) * 4u + ${i}u`)
      });`
    ).join(" ")
  ).join("\n    ");
}

/** WGSL of the quads at hand of B: `v[quad]_[eight]`, a row in each lane, or across `v[quad]_[step]`, four rows in each. */
function loadColumns({ quads }: Block, packing: Exclude<Packing, "image">): string {
  return range(quads).map((q) =>
    range(4).map((i) =>
      `let v${q}_${i} = textureLoad(image, ${
        packing === "along"
          ? along(`q + ${q}u`, `before + left + sgi * ${LANE_COLUMNS}u + ${i}u`)
          : across("(before + left) / 4u + sgi", `(q + ${q}u) * 4u + ${i}u`)
      });`
    ).join(" ")
  ).join("\n    ");
}

/** The same of an image of B. */
function loadImage({ quads }: Block, dtype: Dtype): string {
  const each = imageFormat(dtype).numbers / 4;
  const load = (place: string, e: number) =>
    `textureLoad(image, vec2u((${place}) * ${LANES}u + (sgi * ${LANE_COLUMNS}u + ${e}u) % ${LANES}u, (before + left) / ${LANES}u + sgi * ${LANE_COLUMNS}u / ${LANES}u))`;
  const scales = perColumn((e) =>
    `let all${e} = bitcast<vec4f>(${load("q / 32u * 9u", e)});
    let scale${e} = select(select(all${e}.x, all${e}.y, part == 1u), select(all${e}.z, all${e}.w, part == 3u), part > 1u);`
  );
  const texels = range(Math.ceil(quads / each)).map((t) =>
    perColumn((e) =>
      `let t${t}_${e} = ${
        load(dtype === "q8" ? `q / 4u + q / 32u + 1u + ${t}u` : `q / ${each}u + ${t}u`, e)
      };`
    )
  );
  const values = range(quads).map((q) =>
    perColumn((e) =>
      `let v${q}_${e} = ${quad(dtype, `t${Math.floor(q / each)}_${e}`, q % each)}${
        dtype === "q8" ? ` * scale${e}` : ""
      };`
    )
  );
  const all = [...texels, ...values];
  if (dtype === "q8") all.unshift(`let part = q / 8u % 4u; ${scales}`);
  return all.join("\n    ");
}

/** WGSL that adds the products of all quads to the sums of one group of rows, then to those of the next. */
function products({ rows, quads }: Block, [left, right]: Packings): string {
  const row = (q: number, step: number, j: number) =>
    left === "across"
      ? `x${q}_${step}.${"xyzw"[j % 4]}, ${Math.floor(j / 4)}u`
      : `x${q}_${Math.floor(j / LANES)}.${"xyzw"[step]}, ${j % LANES}u`;
  const column = (q: number, step: number, e: number) =>
    right === "across" ? `v${q}_${step}.${"xyzw"[e]}` : `v${q}_${e}.${"xyzw"[step]}`;
  return range(Math.ceil(rows / ROW_GROUP)).map((group) =>
    range(quads).map((q) =>
      range(4).map((step) =>
        range(Math.min(rows, ROW_GROUP)).map((i) => i + group * ROW_GROUP).map((j) =>
          `{ let a = subgroupBroadcast(${row(q, step, j)}); ${
            perColumn((e) => `c${j}_${e} += a * ${column(q, step, e)};`)
          } }`
        ).join(" ")
      ).join("\n    ")
    ).join("\n    ")
  ).join("\n    ");
}
