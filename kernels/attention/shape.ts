import type { Gpu } from "../runtime/gpu.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { DeviceError } from "../runtime/errors.ts";
import type { HeadLayout } from "../rope.ts";
import { TILE } from "../sequences.ts";

/** What an attention is besides its rows. */
export interface AttentionOptions extends HeadLayout {
  /** Whether a row sees only itself and the rows before it in its sequence. */
  readonly causal: boolean;
  /** Factor of the scores; 1/√D unless given. */
  readonly scale?: number;
  /** Kernels to use instead of those chosen for the adapter. */
  readonly family?: "tiled" | "lanes";
}

/**
 * Fills an attention's output, and the logarithms of its sums of exponentials.
 *
 * @param qkv Rows of which the queries are used [T, (H + 2·H_kv)·D].
 * @param seen Where keys and values are: `qkv` itself, or rows of keys and values alone [S, 2·H_kv·D].
 * @param tiles Which rows see which, see `Sequences.tiles`, or `PackedPrompts.tiles`.
 * @param out [T, H·D].
 * @param lse [T, H].
 */
export type AttentionForward = (
  qkv: Tensor,
  seen: Tensor,
  tiles: Tensor,
  options: AttentionOptions,
  scale: number,
  out: Tensor,
  lse: Tensor,
) => void;

/**
 * WGSL for where a head's keys and values are: vec4 `k` and `v` of a row of `key_stride`, and the row's own key `shift`
 * rows further than the row itself.
 */
export function keyColumns(vecs: number, cached: boolean): string {
  return `let key_stride = (${cached ? "" : "p.heads + "}2u * p.kv_heads) * ${vecs}u;
  let k = (${cached ? "" : "p.heads + "}head / (p.heads / p.kv_heads)) * ${vecs}u;
  let v = k + p.kv_heads * ${vecs}u;
  let shift = ${cached ? "tile.w - (tile.x + tile.y)" : "0u"};`;
}

/**
 * How a workgroup of the tiled kernels is laid out. It computes a block of scores [rows, columns]; an invocation has
 * four neighbouring rows and every `across`-th column of them.
 */
export interface Block {
  /** Rows of the block, which stay while the columns pass by. */
  readonly rows: number;
  /** Columns of the block. */
  readonly columns: number;
  /** Invocations side by side over the columns. */
  readonly across: number;
  /** Invocations over the rows, each with four. */
  readonly down: number;
  /** Invocations in all. */
  readonly size: number;
  /** A head's width in vec4. */
  readonly vecs: number;
  /** A head's width in workgroup memory, padded so that neighbouring rows lie in different banks. */
  readonly pitch: number;
}

const BLOCKS = [[64, 32, 8], [32, 32, 8], [32, 16, 8], [16, 16, 8], [16, 8, 8], [8, 8, 8], [
  8,
  4,
  4,
], [4, 4, 4]];
const MOST_STORAGE = 40 << 10;

/**
 * The largest block whose arrays fit in workgroup memory.
 *
 * @param bytes Bytes of those arrays.
 */
export function chooseBlock({ device }: Gpu, headDim: number, bytes: (b: Block) => number): Block {
  const most = Math.min(MOST_STORAGE, device.limits.maxComputeWorkgroupStorageSize);
  for (const [rows, columns, across] of BLOCKS as [number, number, number][]) {
    const [down, vecs] = [rows / 4, headDim / 4];
    const size = across * down;
    const block = { rows, columns, across, down, size, vecs, pitch: vecs + 1 };
    if (bytes(block) <= most) return block;
  }
  throw new DeviceError(
    `Heads of width ${headDim} do not fit this adapter's ${most} bytes of workgroup memory.`,
  );
}

/** `f(0)`, … `f(n − 1)` as lines. */
export function lines(n: number, f: (i: number) => string): string {
  return Array.from({ length: n }, (_, i) => f(i)).join("\n");
}

/** WGSL that finds the rows of a block: `first` row, its `count` of rows, and its `tile`. */
export function blockRows(rows: number): string {
  const parts = TILE / rows;
  return `let tile = tiles[workgroup.x / ${parts}u];
  let skipped = (workgroup.x % ${parts}u) * ${rows}u;
  let first = tile.x + skipped;
  let count = min(max(tile.y, skipped) - skipped, ${rows}u);`;
}

/**
 * WGSL that copies rows of a head into workgroup memory, with zeros after the last.
 *
 * @param array The workgroup array.
 * @param source An element of the source, given its `row` among them and its vec4 `d`.
 * @param rows How many rows the array has.
 * @param filled WGSL for how many of them are in the source.
 */
export function loadRows(
  b: Block,
  array: string,
  source: string,
  rows: number,
  filled: string,
): string {
  return `for (var i = lane; i < ${rows * b.vecs}u; i += ${b.size}u) {
    let row = i / ${b.vecs}u;
    let d = i % ${b.vecs}u;
    var x = vec4f();
    if (row < ${filled}) { x = ${source}; }
    ${array}[row * ${b.pitch}u + d] = x;
  }`;
}

/** WGSL that adds to each vec4 `${score}j` the products of an invocation's four rows of `a` with its columns j of `b`. */
export function dotProducts(block: Block, pairs: readonly [string, string, string][]): string {
  const { columns, across, vecs, pitch } = block;
  return `for (var d = 0u; d < ${vecs}u; d++) {
    ${
    pairs.map(([score, a, b]) =>
      `{
    ${lines(4, (i) => `let row${i} = ${a}[(r * 4u + ${i}u) * ${pitch}u + d];`)}
    ${
        lines(columns / across, (j) =>
          `{ let b = ${b}[(c + ${j * across}u) * ${pitch}u + d]; ` +
          `${score}${j} += vec4f(dot(row0, b), dot(row1, b), dot(row2, b), dot(row3, b)); }`)
      }
    }`
    ).join("\n")
  }
  }`;
}

/** How many vec4 of a row an invocation sums. */
export function vecsEach({ vecs, across }: Block): number {
  return Math.ceil(vecs / across);
}

/** WGSL that adds to the sums `${sum}v_i` (vec4 v, row i) the weights of four rows times the rows of `b`. */
export function weightedSums(block: Block, triples: readonly [string, string, string][]): string {
  const { columns, across, down, vecs, pitch } = block;
  return `for (var k = 0u; k < ${columns}u; k++) {
    ${
    triples.map(([sum, weights, b]) =>
      `{
    let w = ${weights}[k * ${down}u + r];
    ${
        lines(vecsEach(block), (v) =>
          `{ let x = ${b}[k * ${pitch}u + min(c + ${v * across}u, ${vecs - 1}u)]; ` +
          [..."xyzw"].map((e, i) => `${sum}${v}_${i} += w.${e} * x;`).join(" ") + " }")
      }
    }`
    ).join("\n")
  }
  }`;
}
