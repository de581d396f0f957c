import type { Gpu } from "../runtime/gpu.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { HeadLayout } from "../rope.ts";
import { range } from "../runtime/wgsl.ts";
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

/** Invocations of a workgroup of the tiled kernels over its rows. */
const DOWN = TILE / 4;
/** Rows that an invocation sums in a turn of the loop. */
const UNROLLED = 4;

/**
 * How a workgroup of the tiled kernels is laid out. It computes blocks of scores: of a tile's rows, its own, and of
 * `columns` that pass by. An invocation has row r and every 16th after it, and column c and each after it that is
 * `across` further.
 *
 * Only slices of rows are in workgroup memory, so that several workgroups find place: a few vec4 of each row while
 * scores are computed, a few rows while they are summed. Its arrays are nested as invocations take from them: the
 * indices that vary within an inner loop are constants, so that neither they nor their bounds are computed there.
 */
export interface Block {
  /** Columns of the block. */
  readonly columns: number;
  /** Invocations over its columns. */
  readonly across: number;
  /** Invocations in all. */
  readonly size: number;
  /** Columns of an invocation. */
  readonly each: number;
  /** A head's width in vec4. */
  readonly vecs: number;
  /** Vec4 of a row that an invocation sums. */
  readonly wide: number;
  /** Vec4 of each row in a slice. */
  readonly depth: number;
  /** Rows in a slice. */
  readonly keys: number;
}

/** The block for an adapter: smaller slices where a workgroup has but 16 KB, more invocations where they have few registers. */
export function blockOf({ device, info }: Gpu, headDim: number, columns: 64 | 32): Block {
  const small = device.limits.maxComputeWorkgroupStorageSize < 32 << 10;
  if (small) columns = 32;
  const vecs = headDim / 4, across = info.fewRegisters && !small ? 16 : 8;
  return {
    columns,
    across,
    size: across * DOWN,
    each: columns / across,
    vecs,
    wide: Math.ceil(vecs / across),
    depth: small ? 2 : 4,
    keys: small ? 8 : 16,
  };
}

/**
 * WGSL that declares a block's arrays, for some `scores`. Rows are padded so that neighbours lie in different banks.
 */
export function blockArrays(
  { across, each, wide, depth, keys }: Block,
  scores: readonly string[],
): string {
  const slices = (inner: number, outer: number): string =>
    `array<array<array<vec4f, ${depth + 1}>, ${inner}>, ${outer}>`;
  return `${
    scores.map((s) =>
      `var<workgroup> own_${s}: ${slices(DOWN, 4)};
var<workgroup> passing_${s}: ${slices(across, each)};`
    ).join("\n")
  }
var<workgroup> weights: array<array<array<vec4f, ${DOWN + 2}>, ${UNROLLED}>, ${keys / UNROLLED}>;
var<workgroup> summed: array<array<array<array<vec4f, ${across}>, ${wide}>, ${UNROLLED}>, ${
    keys / UNROLLED
  }>;`;
}

/** `f(0)`, … `f(n − 1)` as lines. */
export function lines(n: number, f: (i: number) => string): string {
  return range(n).map(f).join("\n");
}

/**
 * WGSL that finds the `first` row of tile `number`, its `count` and `last` row, and an invocation's `r` and `c`. Neighbours
 * in two bits of `lane` share a row or a column, for which some GPUs read workgroup memory once.
 */
export function blockPlaces({ across }: Block, number: string): string {
  return `let tile = tiles[${number}];
  let first = tile.x;
  let count = tile.y;
  let last = first + count - 1u;
  let c = lane / 2u % ${across}u;
  let r = lane / ${2 * across}u * 2u + lane % 2u;`;
}

/** Row i of an invocation, from the tile's first. */
export function ownRow(i: number): string {
  return `r + ${i * DOWN}u`;
}

/** The four rows of an invocation in one vector. */
export const OWN_ROWS = `r + vec4u(${range(4).map((i) => `${i * DOWN}u`)})`;

/** Column j of an invocation. */
export function column({ across }: Block, j: number): string {
  return `start + c + ${j * across}u`;
}

/** Rows in a buffer of vec4. */
export interface Rows {
  /** The buffer's name. */
  readonly buffer: string;
  /** Where a row begins in it. */
  readonly at: (row: string) => string;
  /** What follows an element of it: a factor, or nothing. */
  readonly factor?: string;
}

/** Scores: their name, the tile's rows and the rows that pass by, whose products they are, and what column j begins with. */
export type Scores = readonly [
  name: string,
  own: Rows,
  passing: Rows,
  begin: (j: number) => string,
];

/** WGSL that finds what an invocation copies of `n` rows, slice by slice, as `${name}i`: after the `last`, of that. */
function slicePlaces(
  { size, depth }: Block,
  name: string,
  { at }: Rows,
  n: number,
  first: string,
  last: string,
): string {
  const rows = size / depth;
  return lines(
    Math.ceil(n / rows),
    (i) =>
      `let ${name}${i} = ${at(`min(${first} + lane / ${depth}u + ${i * rows}u, ${last})`)} + ` +
      `lane % ${depth}u;`,
  );
}

/** WGSL that finds the tile's rows for `scores`. */
export function ownPlaces(block: Block, all: readonly Scores[]): string {
  return all.map(([s, own]) => slicePlaces(block, `at_own_${s}`, own, TILE, "first", "last"))
    .join("\n");
}

/**
 * WGSL of the vec4 `${name}j` of some scores: the products of an invocation's rows with its column j. Rows and columns
 * after the last are as the last: they are not stored, or masked.
 */
export function scores(block: Block, all: readonly Scores[]): string {
  const { columns, across, size, each, vecs, depth } = block;
  const rows = size / depth;
  const copies = all.flatMap(([s, own, passing]) =>
    ([[`own_${s}`, own, TILE, DOWN], [`passing_${s}`, passing, columns, across]] as const)
      .flatMap(([array, source, n, inner]) =>
        range(Math.ceil(n / rows)).map((i) => ({
          array,
          source,
          n,
          inner,
          i,
          copy: `${array}_${i}`,
        }))
      )
  );
  return `${
    all.map(([s, _, passing, begin]) =>
      slicePlaces(block, `at_passing_${s}`, passing, columns, "start", "end - 1u") + "\n" +
      lines(each, (j) => `var ${s}${j} = vec4f(${begin(j)});`)
    ).join("\n")
  }
  for (var d = 0u; d < ${vecs}u; d += ${depth}u) {
    ${
    copies.map(({ array, source: { buffer, factor }, i, copy }) => {
      const x = `${buffer}[at_${array}${i} + d]${factor ?? ""}`;
      return `let ${copy} = ${
        vecs % depth === 0 ? x : `select(vec4f(), ${x}, d + lane % ${depth}u < ${vecs}u)`
      };`;
    }).join("\n")
  }
    workgroupBarrier();
    ${
    copies.map(({ array, n, inner, i, copy }) => {
      const outer = `lane / ${depth * inner}u + ${i * rows / inner}u`;
      const place = `${array}[${outer}][lane / ${depth}u % ${inner}u][lane % ${depth}u]`;
      return `${n < rows ? `if (lane < ${n * depth}u)` : ""} { ${place} = ${copy}; }`;
    }).join("\n")
  }
    workgroupBarrier();
    for (var u = 0u; u < ${depth}u; u++) {
      ${
    all.map(([s]) =>
      `{
      ${lines(4, (i) => `let a${i} = own_${s}[${i}][r][u];`)}
      ${[..."xyzw"].map((e) => `let ${e} = vec4f(a0.${e}, a1.${e}, a2.${e}, a3.${e});`).join("\n")}
      ${
        lines(each, (j) =>
          `{ let b = passing_${s}[${j}][c][u]; ` +
          [..."xyzw"].map((e) => `${s}${j} += ${e} * b.${e};`).join(" ") + " }")
      }
      }`
    ).join("\n")
  }
    }
  }`;
}

/** Where the weights of an invocation's column stand, the i-th of those in the slice. */
function ownWeight({ across }: Block, i: number): string {
  return `weights[c / ${UNROLLED}u + ${i * across / UNROLLED}u][c % ${UNROLLED}u][r]`;
}

/** WGSL of sums that are zero yet: `${sum}v_i`, vec4 v of row i. */
export function noSums({ wide }: Block, sum: string): string {
  return lines(4 * wide, (i) => `var ${sum}${i >> 2}_${i & 3} = vec4f();`);
}

/** WGSL that adds to the sums `${sum}v_i` the rows that pass by, weighted by the vec4 `${weight}j`. */
export function weightedSums(
  block: Block,
  sum: string,
  weight: string,
  { buffer, at }: Rows,
): string {
  const { columns, across, size, vecs, wide, keys } = block;
  const parts = keys / across, all = keys * across >= size;
  return `for (var slice = 0u; slice < min(${columns}u, end - start); slice += ${keys}u) {
    let at = ${at(`min(start + slice + lane / ${across}u, end - 1u)`)};
    ${
    lines(wide, (v) => {
      const d = `lane % ${across}u + ${v * across}u`;
      return `let x${v} = ${buffer}[at + ${vecs % across ? `min(${d}, ${vecs - 1}u)` : d}];`;
    })
  }
    workgroupBarrier();
    switch slice {
      ${
    lines(columns / keys, (n) =>
      `${n === 0 ? "default" : `case ${n * keys}u`}: { ${
        range(parts).map((i) =>
          `${ownWeight(block, i)} = ${weight}${n * parts + i};`
        ).join(" ")
      } }`)
  }
    }
    ${all ? "" : `if (lane < ${keys * across}u)`} {
    ${
    lines(wide, (v) =>
      `summed[lane / ${
        across * UNROLLED
      }u][lane / ${across}u % ${UNROLLED}u][${v}][lane % ${across}u] = x${v};`)
  }
    }
    workgroupBarrier();
    for (var i = 0u; i < ${keys / UNROLLED}u; i++) {
    ${
    lines(UNROLLED, (k) =>
      `{ let w = weights[i][${k}][r]; ${
        range(wide).map((v) =>
          `{ let x = summed[i][${k}][${v}][c]; ` +
          [..."xyzw"].map((e, i) =>
            `${sum}${v}_${i} += w.${e} * x;`
          ).join(" ") + " }"
        ).join(" ")
      } }`)
  }
    }
  }`;
}

/** WGSL that stores what an invocation has of its rows: `value` of vec4 v of row i goes where `at` says of the row, and on. */
export function storeSums(
  { across, vecs, wide }: Block,
  buffer: string,
  at: (i: number) => string,
  value: (v: number, i: number) => string,
): string {
  return lines(4, (i) =>
    `if (${ownRow(i)} < count) {
    ${
      lines(wide, (v) => {
        const store = `${buffer}[${at(i)} + ${v * across}u] = ${value(v, i)};`;
        const whole = vecs >= (v + 1) * across;
        return whole ? store : `if (c < ${vecs - v * across}u) { ${store} }`;
      })
    }
  }`);
}

/** WGSL that combines a vec4 with those of all invocations over the same rows. */
export function acrossColumns(
  block: Block,
  value: string,
  combine: (a: string, b: string) => string,
): string {
  return `${ownWeight(block, 0)} = ${value};
    workgroupBarrier();
    ${value} = weights[0][0][r];
    ${
    lines(block.across - 1, (i) =>
      `${value} = ${
        combine(value, `weights[${Math.floor((i + 1) / UNROLLED)}][${(i + 1) % UNROLLED}][r]`)
      };`)
  }`;
}
