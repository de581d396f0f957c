import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { HeadLayout } from "../rope.ts";
import { entry, range, setOrAdd } from "../runtime/wgsl.ts";
import {
  type AttentionOptions,
  blockArrays,
  blockOf,
  blockPlaces,
  column,
  lines,
  noSums,
  OWN_ROWS,
  ownPlaces,
  ownRow,
  type Rows,
  type Scores,
  scores,
  storeSums,
  weightedSums,
} from "./shape.ts";

/** What backward needs of forward, and where its result goes. */
export interface AttentionGradient {
  /** Input of the forward [T, (H + 2·H_kv)·D]. */
  readonly qkv: Tensor;
  /** Its output [T, H·D]. */
  readonly out: Tensor;
  /** Its logarithms of sums [T, H]. */
  readonly lse: Tensor;
  /** Gradient of the output [T, H·D]. */
  readonly dy: Tensor;
  /** Gradient of the input. */
  readonly grad: Tensor;
  /** Whether to add to what `grad` holds. */
  readonly accumulate: boolean;
}

/** Invocations of a workgroup of `outputDots`, and of `sumParts`. */
const DELTAS = 64, SUMS = 128;

/** δ = Σ dO·O over each row of each head [T, H], by which the softmax's gradient is corrected. */
export function outputDots(dy: Tensor, out: Tensor, heads: number, headDim: number): Tensor {
  const { gpu, rows } = out;
  const delta = gpu.empty([rows, heads], "float32", "attention deltas");
  const kernel = gpu.kernel(`attention_delta/${headDim}`, () => `
struct Params { n: u32 }
@group(0) @binding(0) var<storage, read> dy: array<vec4f>;
@group(0) @binding(1) var<storage, read> out: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> delta: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
${
    entry(
      gpu,
      DELTAS,
      `let i = group * ${DELTAS}u + lane;
  if (i < p.n) {
    var sum = 0.0;
    for (var d = i * ${headDim / 4}u; d < (i + 1u) * ${
        headDim / 4
      }u; d++) { sum += dot(dy[d], out[d]); }
    delta[i] = sum;
  }`,
    )
  }`);
  gpu.run(kernel, [dy, out, delta], [delta.size], Math.ceil(delta.size / DELTAS));
  return delta;
}

/**
 * With P = exp(scale·QKᵀ − lse) and dS = P∘(dO Vᵀ − δ): dQ = scale·dS K, dK = scale·dSᵀ Q, dV = Pᵀ dO.
 *
 * Of `queries`, a workgroup has a tile of queries while keys and values pass by; of `keys` it has keys and values while
 * the queries of their group's heads pass by, or of a part of them. Workgroups that take longest have the first numbers.
 *
 * Dao et al., "FlashAttention", 2022, algorithm 4, without atomics: each sum is one workgroup's.
 */
function backwardKernel(
  gpu: Gpu,
  { headDim, causal }: AttentionOptions,
  side: "queries" | "keys",
): Kernel {
  const block = blockOf(gpu, headDim, 32);
  const { columns, each, vecs, wide } = block;
  const ofKeys = side === "keys";
  const query: Rows = {
    buffer: "qkv",
    at: (row) => `${row} * stride + head * ${vecs}u`,
    factor: " * p.scale",
  };
  const gradient: Rows = {
    buffer: "dy",
    at: (row) => `(${row} * p.heads + head) * ${vecs}u`,
  };
  const key: Rows = { buffer: "qkv", at: (row) => `${row} * stride + k` };
  const value: Rows = { buffer: "qkv", at: (row) => `${row} * stride + v` };
  const statistic = (name: string) => (j: number): string =>
    ofKeys ? `-${name}[min(${column(block, j)}, end - 1u) * p.heads + head]` : `-own_${name}`;
  const products: Scores[] = ofKeys
    ? [["s", key, query, statistic("lse")], ["t", value, gradient, statistic("delta")]]
    : [["s", query, key, statistic("lse")], ["t", gradient, value, statistic("delta")]];
  const seen = (j: number): string =>
    !causal
      ? `vec4<bool>(${column(block, j)} < end)`
      : ofKeys
      ? `(row_ids <= vec4u(${column(block, j)})) & vec4<bool>(${column(block, j)} < end)`
      : `vec4u(${column(block, j)}) <= row_ids`;
  const edge = !causal
    ? `start + ${columns}u > end`
    : ofKeys
    ? `start < last || start + ${columns}u > end`
    : `start + ${columns}u > first`;
  const ownStatistic = (name: string): string =>
    `let own_${name} = vec4f(${
      range(4).map((i) => `${name}[min(first + ${ownRow(i)}, last) * p.heads + head]`)
    });`;
  const store = (to: string, sum: string, factor: string): string =>
    `{
    ${
      lines(4, (i) => {
        const row = `min(first + ${ownRow(i)}, last)`;
        const at = ofKeys ? `(${row} * p.parts + part) * (skipped + kv_vecs)` : `${row} * stride`;
        return `let at${i} = ${at} + ${to} + c;`;
      })
    }
    ${lines(4 * wide, (n) => `${sum}${n >> 2}_${n & 3} *= ${factor};`)}
    if (p.accumulate == 1u) {
      ${
      lines(
        4 * wide,
        (n) => `${sum}${n >> 2}_${n & 3} += grad[at${n & 3} + ${(n >> 2) * block.across}u];`,
      )
    }
    }
    ${storeSums(block, "grad", (i) => `at${i}`, (v, i) => `${sum}${v}_${i}`)}
  }`;
  const passing = () => `
  for (var start = begin; start < end; start += ${columns}u) {
    ${scores(block, products)}
    if (${edge}) {
      ${lines(each, (j) => `s${j} = select(vec4f(-1e30), s${j}, ${seen(j)});`)}
    }
    ${lines(each, (j) => `s${j} = exp(s${j}); t${j} *= s${j};`)}
    ${weightedSums(block, "x", "t", ofKeys ? query : key)}
    ${ofKeys ? weightedSums(block, "y", "s", gradient) : ""}
  }`;
  const body = () =>
    `${blockPlaces(block, ofKeys ? "workgroups.y - 1u - workgroup.y" : "workgroup.y")}
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  let group_heads = p.heads / p.kv_heads;
  let row_ids = first + ${OWN_ROWS};
  let kv_head = workgroup.x / ${ofKeys ? "p.parts" : "group_heads"};
  let k = (p.heads + kv_head) * ${vecs}u;
  let v = k + p.kv_heads * ${vecs}u;
  ${ofKeys ? "" : "let head = workgroup.x;"}
  ${ownPlaces(block, products)}
  ${noSums(block, "x")}
  ${
      ofKeys
        ? `${noSums(block, "y")}
  let begin = ${causal ? "first" : "tile.z"};
  let end = tile.w;
  let part = workgroup.x % p.parts;
  let part_heads = group_heads / p.parts;
  for (var head = workgroup.x * part_heads; head < (workgroup.x + 1u) * part_heads; head++) { ${passing()} }
  let kv_vecs = 2u * p.kv_heads * ${vecs}u;
  let skipped = select(0u, p.heads * ${vecs}u, p.parts == 1u);
  let own = skipped + kv_head * ${vecs}u;
  ${store("own", "x", "p.scale")}
  ${store("own + kv_vecs / 2u", "y", "1.0")}`
        : `let begin = tile.z;
  let end = ${causal ? "last + 1u" : "tile.w"};
  ${ownStatistic("lse")}
  ${ownStatistic("delta")}
  ${passing()}
  ${store(`head * ${vecs}u`, "x", "p.scale")}`
    }`;
  return gpu.kernel(`attention_d${side}/${headDim}${causal ? "/causal" : ""}`, () => `
struct Params { heads: u32, kv_heads: u32, scale: f32, accumulate: u32, parts: u32 }
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> grad: array<vec4f>;
@group(0) @binding(6) var<uniform> p: Params;
${blockArrays(block, ["s", "t"])}
${entry(gpu, block.size, body())}`);
}

/** Workgroups that keep a graphics card busy though some take longer: eight for each of 128 multiprocessors. */
const ENOUGH = 8 * 128;

/**
 * Into how many parts a group's heads are divided, of which each has workgroups of its own for the gradient of keys and
 * values: as few as there must be for enough workgroups, or a part for each head.
 *
 * @param workgroups How many there are of a single part.
 */
export function headParts(workgroups: number, { heads, kvHeads }: HeadLayout): number {
  const group = heads / kvHeads;
  const divisors = range(group).map((i) => i + 1).filter((parts) => group % parts === 0);
  return divisors.find((parts) => workgroups * parts >= ENOUGH) ?? group;
}

/** Sums the parts of the gradient of keys and values [T, parts, 2·H_kv·D], in order, into the columns after the queries'. */
function sumParts(parts: Tensor, grad: Tensor, accumulate: boolean): void {
  const { gpu } = grad;
  const [rows = 0, count = 0, width = 0] = parts.shape;
  const vecs = width / 4, n = rows * vecs;
  const kernel = gpu.kernel("attention_sum_parts", () => `
struct Params { n: u32, count: u32, vecs: u32, stride: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> parts: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> grad: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;
${
    entry(
      gpu,
      SUMS,
      `let i = group * ${SUMS}u + lane;
  if (i < p.n) {
    let row = i / p.vecs;
    let d = i % p.vecs;
    var sum = vec4f();
    for (var part = 0u; part < p.count; part++) { sum += parts[(row * p.count + part) * p.vecs + d]; }
    let at = (row + 1u) * p.stride - p.vecs + d;
    ${setOrAdd("grad[at]", "sum")}
  }`,
    )
  }`);
  const params = [n, count, vecs, grad.width / 4, Number(accumulate)];
  gpu.run(kernel, [parts, grad], params, Math.ceil(n / SUMS));
}

/**
 * Computes the gradient of an attention's packed queries, keys and values.
 *
 * @param tiles See `Sequences.furthestFirst`.
 */
export function tiledBackward(
  { qkv, out, lse, dy, grad, accumulate }: AttentionGradient,
  tiles: Tensor,
  options: AttentionOptions,
  scale: number,
): void {
  const { gpu, rows } = qkv;
  const { heads, kvHeads, headDim } = options;
  const delta = outputDots(dy, out, heads, headDim);
  const run = (side: "queries" | "keys", to: Tensor, add: boolean, parts: number): void =>
    gpu.run(
      backwardKernel(gpu, options, side),
      [qkv, tiles, dy, lse, delta, to],
      [heads, kvHeads, f32(scale), Number(add), parts],
      [side === "keys" ? kvHeads * parts : heads, tiles.rows],
    );
  run("queries", grad, accumulate, 1);
  const parts = headParts(tiles.rows * kvHeads, options);
  if (parts === 1) {
    run("keys", grad, accumulate, 1);
  } else {
    const shape = [rows, parts, 2 * kvHeads * headDim];
    using partial = gpu.detached(() => gpu.empty(shape, "float32", "parts of a gradient"));
    run("keys", partial, false, parts);
    sumParts(partial, grad, accumulate);
  }
}
