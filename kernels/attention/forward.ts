import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import { entry } from "../runtime/wgsl.ts";
import {
  acrossColumns,
  type AttentionForward,
  type AttentionOptions,
  blockArrays,
  blockOf,
  blockPlaces,
  column,
  keyColumns,
  lines,
  noSums,
  OWN_ROWS,
  ownPlaces,
  ownRow,
  type Rows,
  scores,
  storeSums,
  weightedSums,
} from "./shape.ts";

/**
 * A workgroup has a tile of queries of one head; keys and values pass by in blocks. The softmax is computed as they
 * pass: with each block the largest score so far, m, may grow, and what was summed shrinks by exp(m_old − m_new).
 */
function forwardKernel(
  gpu: Gpu,
  { headDim, causal }: AttentionOptions,
  cached: boolean,
): Kernel {
  const block = blockOf(gpu, headDim, 64);
  const { columns, each, vecs, wide } = block;
  const queries: Rows = {
    buffer: "qkv",
    at: (row) => `${row} * stride + head * ${vecs}u`,
    factor: " * p.scale",
  };
  const keys: Rows = { buffer: "seen", at: (row) => `${row} * key_stride + k` };
  const values: Rows = { buffer: "seen", at: (row) => `${row} * key_stride + v` };
  const products = [["s", queries, keys, () => ""]] as const;
  const body = () =>
    `${blockPlaces(block, "workgroup.y")}
  let head = workgroup.x;
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  ${keyColumns(vecs, cached)}
  let own_keys = first + shift + ${OWN_ROWS};
  ${ownPlaces(block, products)}
  var m = vec4f(-1e30);
  var l = vec4f();
  ${noSums(block, "o")}
  let end = ${causal ? "last + shift + 1u" : "tile.w"};
  for (var start = tile.z; start < end; start += ${columns}u) {
    ${scores(block, products)}
    if (start + ${columns}u > ${causal ? "first + shift" : "end"}) {
      ${
      lines(each, (j) =>
        `s${j} = select(vec4f(-1e30), s${j}, ${
          causal
            ? `vec4u(${column(block, j)}) <= own_keys`
            : `vec4<bool>(${column(block, j)} < end)`
        });`)
    }
    }
    var top = m;
    ${lines(each, (j) => `top = max(top, s${j});`)}
    ${acrossColumns(block, "top", (a, b) => `max(${a}, ${b})`)}
    let shrink = exp(m - top);
    m = top;
    l *= shrink;
    ${lines(each, (j) => `s${j} = exp(s${j} - m); l += s${j};`)}
    ${lines(4 * wide, (i) => `o${i >> 2}_${i & 3} *= shrink.${"xyzw"[i & 3]};`)}
    ${weightedSums(block, "o", "s", values)}
  }
  workgroupBarrier();
  ${acrossColumns(block, "l", (a, b) => `${a} + ${b}`)}
  let inverse = 1.0 / l;
  ${
      storeSums(
        block,
        "out",
        (i) => `((first + ${ownRow(i)}) * p.heads + head) * ${vecs}u + c`,
        (v, i) => `o${v}_${i} * inverse[${i}]`,
      )
    }
  if (c == 0u) {
    let sums = m + log(l);
    ${
      lines(
        4,
        (i) =>
          `if (${ownRow(i)} < count) { lse[(first + ${
            ownRow(i)
          }) * p.heads + head] = sums[${i}]; }`,
      )
    }
  }`;
  const key = `attention/${headDim}${causal ? "/causal" : ""}${cached ? "/cached" : ""}`;
  return gpu.kernel(key, () => `
struct Params { heads: u32, kv_heads: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> seen: array<vec4f>;
@group(0) @binding(2) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;
${blockArrays(block, ["s"])}
${entry(gpu, block.size, body())}`);
}

/** See `AttentionForward`. */
export const tiledForward: AttentionForward = (qkv, seen, tiles, options, scale, out, lse) => {
  const { gpu } = qkv;
  const { heads, kvHeads } = options;
  const kernel = forwardKernel(gpu, options, seen !== qkv);
  const workgroups = [heads, tiles.rows] as const;
  gpu.run(kernel, [qkv, seen, tiles, out, lse], [heads, kvHeads, f32(scale)], workgroups);
};
