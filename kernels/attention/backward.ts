import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";
import { type Sequences, TILE } from "../sequences.ts";
import {
  type AttentionOptions,
  type Block,
  blockRows,
  chooseBlock,
  dotProducts,
  lines,
  loadRows,
  vecsEach,
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

const SIZE = 64;

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
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    var sum = 0.0;
    for (var d = i * ${headDim / 4}u; d < (i + 1u) * ${
        headDim / 4
      }u; d++) { sum += dot(dy[d], out[d]); }
    delta[i] = sum;
  }`,
    )
  }`);
  gpu.run(kernel, [dy, out, delta], [delta.size], Math.ceil(delta.size / SIZE));
  return delta;
}

const bytes = (sums: number) => ({ rows, columns, down, pitch }: Block): number =>
  16 * (2 * rows * pitch + 2 * columns * pitch + sums * columns * down);

const XYZW = [..."xyzw"];

/**
 * With P = exp(scale·QKᵀ − lse) and dS = P∘(dO Vᵀ − δ): dQ = scale·dS K, dK = scale·dSᵀ Q, dV = Pᵀ dO.
 *
 * Of `queries`, a workgroup has a block of queries (rows) while keys and values (columns) pass by; of `keys` it has
 * keys and values while the queries of all heads of their group pass by.
 *
 * Dao et al., "FlashAttention", 2022, algorithm 4, without atomics: each sum is one workgroup's.
 */
function backwardKernel(
  gpu: Gpu,
  block: Block,
  { headDim, causal }: AttentionOptions,
  side: "queries" | "keys",
): Kernel {
  const { rows, columns, across, down, size, vecs, pitch } = block;
  const each = columns / across, wide = vecsEach(block);
  const ofKeys = side === "keys";
  const query = (row: string): string => `qkv[(${row}) * stride + head * ${vecs}u + d]`;
  const key = (row: string): string => `qkv[(${row}) * stride + k + d]`;
  const value = (row: string): string => `qkv[(${row}) * stride + v + d]`;
  const gradient = (row: string): string => `dy[((${row}) * p.heads + head) * ${vecs}u + d]`;
  const load = (array: string, from: string): string =>
    loadRows(block, array, from, columns, "end - start");
  const loadOwn = (array: string, from: string): string =>
    loadRows(block, array, from, rows, "count");
  const column = (j: number): string => `start + c + ${j * across}u`;
  const seen = (j: number): string =>
    !causal
      ? `vec4<bool>(${column(j)} < end)`
      : ofKeys
      ? `(row_ids <= vec4u(${column(j)})) & vec4<bool>(${column(j)} < end)`
      : `vec4u(${column(j)}) <= row_ids`;
  const store = (to: string, sum: string, factor: string): string =>
    lines(
      4 * wide,
      (i) =>
        `if (r * 4u + ${i & 3}u < count && c + ${(i >> 2) * across}u < ${vecs}u) {
    let at = (first + r * 4u + ${i & 3}u) * stride + ${to} + c + ${(i >> 2) * across}u;
    var x = ${sum}${i >> 2}_${i & 3}${factor};
    if (p.accumulate == 1u) { x += grad[at]; }
    grad[at] = x;
  }`,
    );
  const ownStatistics = (name: string): string =>
    `let ${name}_own = vec4f(${
      XYZW.map((_, i) => `${name}[min(first + r * 4u + ${i}u, tile.w - 1u) * p.heads + head]`)
        .join()
    });`;
  const passing = () => `
  for (var start = begin; start < end; start += ${columns}u) {
    workgroupBarrier();
    ${load("b1", ofKeys ? query("start + row") : key("start + row"))}
    ${load("b2", ofKeys ? gradient("start + row") : value("start + row"))}
    workgroupBarrier();
    ${lines(each, (j) => `var s${j} = vec4f(); var t${j} = vec4f();`)}
    ${dotProducts(block, [["s", "a1", "b1"], ["t", "a2", "b2"]])}
    ${
    lines(each, (j) => {
      const at = `min(${column(j)}, end - 1u) * p.heads + head`;
      return `{
      ${
        ofKeys
          ? `let lse_j = vec4f(lse[${at}]); let delta_j = vec4f(delta[${at}]);`
          : "let lse_j = lse_own; let delta_j = delta_own;"
      }
      let w = select(vec4f(), exp(min(s${j} * p.scale - lse_j, vec4f(80.0))), ${seen(j)});
      let at = (c + ${j * across}u) * ${down}u + r;
      ds[at] = w * (t${j} - delta_j);
      ${ofKeys ? "weights[at] = w;" : ""}
    }`;
    })
  }
    workgroupBarrier();
    ${
    weightedSums(block, [["x", "ds", "b1"], ...(ofKeys ? [["y", "weights", "b2"]] : [])] as [
      string,
      string,
      string,
    ][])
  }
  }`;
  const body = () =>
    `${blockRows(rows)}
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  let group_heads = p.heads / p.kv_heads;
  let c = lane % ${across}u;
  let r = lane / ${across}u;
  let row_ids = vec4u(first + r * 4u) + vec4u(0u, 1u, 2u, 3u);
  let kv_head = ${ofKeys ? "workgroup.y" : "workgroup.y / group_heads"};
  let k = (p.heads + kv_head) * ${vecs}u;
  let v = k + p.kv_heads * ${vecs}u;
  ${lines(4 * wide, (i) => `var x${i >> 2}_${i & 3} = vec4f();`)}
  ${
      ofKeys
        ? `${lines(4 * wide, (i) => `var y${i >> 2}_${i & 3} = vec4f();`)}
  let begin = ${causal ? "first" : "tile.z"};
  let end = select(begin, tile.w, count > 0u);
  ${loadOwn("a1", key("first + row"))}
  ${loadOwn("a2", value("first + row"))}
  for (var head = kv_head * group_heads; head < (kv_head + 1u) * group_heads; head++) { ${passing()} }
  ${store("k", "x", " * p.scale")}
  ${store("v", "y", "")}`
        : `let head = workgroup.y;
  let begin = tile.z;
  let end = select(begin, ${causal ? "first + count" : "tile.w"}, count > 0u);
  ${loadOwn("a1", query("first + row"))}
  ${loadOwn("a2", gradient("first + row"))}
  ${ownStatistics("lse")}
  ${ownStatistics("delta")}
  ${passing()}
  ${store(`head * ${vecs}u`, "x", " * p.scale")}`
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
var<workgroup> a1: array<vec4f, ${rows * pitch}>;
var<workgroup> a2: array<vec4f, ${rows * pitch}>;
var<workgroup> b1: array<vec4f, ${columns * pitch}>;
var<workgroup> b2: array<vec4f, ${columns * pitch}>;
var<workgroup> ds: array<vec4f, ${columns * down}>;
${ofKeys ? `var<workgroup> weights: array<vec4f, ${columns * down}>;` : ""}
${entry(gpu, size, body())}`);
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
    const block = chooseBlock(gpu, headDim, bytes(side === "keys" ? 2 : 1));
    const kernel = backwardKernel(gpu, block, options, side);
    const workgroups = tiles.rows * (TILE / block.rows);
    gpu.run(kernel, [qkv, tiles, dy, lse, delta, grad], params, [
      workgroups,
      side === "keys" ? kvHeads : heads,
    ]);
  }
}
