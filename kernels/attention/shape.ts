import type { Gpu } from "../runtime/gpu.ts";
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
