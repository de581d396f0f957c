import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry, range } from "../runtime/wgsl.ts";
import type { Sequences } from "../sequences.ts";
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

const DELTAS = 64;

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
 * the queries of all heads of their group pass by.
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
    ${lines(4, (i) => `let at${i} = min(first + ${ownRow(i)}, last) * stride + ${to} + c;`)}
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
    `${blockPlaces(block)}
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  let group_heads = p.heads / p.kv_heads;
  let row_ids = first + ${OWN_ROWS};
  let kv_head = ${ofKeys ? "workgroup.y" : "workgroup.y / group_heads"};
  let k = (p.heads + kv_head) * ${vecs}u;
  let v = k + p.kv_heads * ${vecs}u;
  ${ofKeys ? "" : "let head = workgroup.y;"}
  ${ownPlaces(block, products)}
  ${noSums(block, "x")}
  ${
      ofKeys
        ? `${noSums(block, "y")}
  let begin = ${causal ? "first" : "tile.z"};
  let end = tile.w;
  for (var head = kv_head * group_heads; head < (kv_head + 1u) * group_heads; head++) { ${passing()} }
  ${store("k", "x", "p.scale")}
  ${store("v", "y", "1.0")}`
        : `let begin = tile.z;
  let end = ${causal ? "last + 1u" : "tile.w"};
  ${ownStatistic("lse")}
  ${ownStatistic("delta")}
  ${passing()}
  ${store(`head * ${vecs}u`, "x", "p.scale")}`
    }`;
  return gpu.kernel(`attention_d${side}/${headDim}${causal ? "/causal" : ""}`, () => `
struct Params { heads: u32, kv_heads: u32, scale: f32, accumulate: u32 }
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

/** Computes the gradient of an attention's packed queries, keys and values. */
export function tiledBackward(
  { qkv, out, lse, dy, grad, accumulate }: AttentionGradient,
  { tiles }: Sequences,
  options: AttentionOptions,
  scale: number,
): void {
  const { gpu } = qkv;
  const { heads, kvHeads, headDim } = options;
  const delta = outputDots(dy, out, heads, headDim);
  const params = [heads, kvHeads, f32(scale), Number(accumulate)];
  for (const side of ["queries", "keys"] as const) {
    const kernel = backwardKernel(gpu, options, side);
    const workgroups = [tiles.rows, side === "keys" ? kvHeads : heads] as const;
    gpu.run(kernel, [qkv, tiles, dy, lse, delta, grad], params, workgroups);
  }
}
