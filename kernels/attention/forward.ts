import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import { entry } from "../runtime/wgsl.ts";
import { TILE } from "../sequences.ts";
import {
  type AttentionForward,
  type AttentionOptions,
  type Block,
  blockRows,
  chooseBlock,
  dotProducts,
  keyColumns,
  lines,
  loadRows,
  vecsEach,
  weightedSums,
} from "./shape.ts";

const bytes = ({ rows, columns, across, down, pitch }: Block): number =>
  16 * (rows * pitch + columns * pitch + columns * down + across * down);

/**
 * A workgroup has a block of queries of one head; keys and values pass by in blocks. The softmax is computed as they
 * pass: with each block the largest score so far, m, may grow, and what was summed shrinks by exp(m_old − m_new).
 */
function forwardKernel(
  gpu: Gpu,
  block: Block,
  { headDim, causal }: AttentionOptions,
  cached: boolean,
): Kernel {
  const { rows, columns, across, down, size, vecs, pitch } = block;
  const each = columns / across, wide = vecsEach(block);
  const body = () =>
    `${blockRows(rows)}
  let head = workgroup.y;
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  let q = head * ${vecs}u;
  ${keyColumns(vecs, cached)}
  let c = lane % ${across}u;
  let r = lane / ${across}u;
  let own_keys = vec4u(first + shift + r * 4u) + vec4u(0u, 1u, 2u, 3u);
  ${loadRows(block, "a", "qkv[(first + row) * stride + q + d] * p.scale", rows, "count")}
  var m = vec4f(-1e30);
  var l = vec4f();
  ${lines(4 * wide, (i) => `var o${i >> 2}_${i & 3} = vec4f();`)}
  let end = select(tile.z, ${causal ? "first + count + shift" : "tile.w"}, count > 0u);
  for (var start = tile.z; start < end; start += ${columns}u) {
    workgroupBarrier();
    ${loadRows(block, "b", "seen[(start + row) * key_stride + k + d]", columns, "end - start")}
    workgroupBarrier();
    ${lines(each, (j) => `var s${j} = vec4f();`)}
    ${dotProducts(block, [["s", "a", "b"]])}
    var top = m;
    ${
      lines(each, (j) => {
        const key = `start + c + ${j * across}u`;
        const seen = causal ? `vec4u(${key}) <= own_keys` : `vec4<bool>(${key} < end)`;
        return `s${j} = select(vec4f(-1e30), s${j}, ${seen}); top = max(top, s${j});`;
      })
    }
    parts[c * ${down}u + r] = top;
    workgroupBarrier();
    ${lines(across, (i) => `top = max(top, parts[${i * down}u + r]);`)}
    let shrink = exp(m - top);
    m = top;
    l *= shrink;
    ${
      lines(
        each,
        (j) =>
          `s${j} = exp(s${j} - m); l += s${j}; weights[(c + ${
            j * across
          }u) * ${down}u + r] = s${j};`,
      )
    }
    ${lines(4 * wide, (i) => `o${i >> 2}_${i & 3} *= shrink.${"xyzw"[i & 3]};`)}
    ${loadRows(block, "b", "seen[(start + row) * key_stride + v + d]", columns, "end - start")}
    workgroupBarrier();
    ${weightedSums(block, [["o", "weights", "b"]])}
  }
  workgroupBarrier();
  parts[c * ${down}u + r] = l;
  workgroupBarrier();
  l = vec4f();
  ${lines(across, (i) => `l += parts[${i * down}u + r];`)}
  ${
      lines(4, (i) =>
        `if (r * 4u + ${i}u < count) {
    let row = first + r * 4u + ${i}u;
    ${
          lines(wide, (v) =>
            `if (c + ${v * across}u < ${vecs}u) { ` +
            `out[(row * p.heads + head) * ${vecs}u + c + ${v * across}u] = o${v}_${i} / l.${
              "xyzw"[i]
            }; }`)
        }
    if (c == 0u) { lse[row * p.heads + head] = m[${i}] + log(l[${i}]); }
  }`)
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
var<workgroup> a: array<vec4f, ${rows * pitch}>;
var<workgroup> b: array<vec4f, ${columns * pitch}>;
var<workgroup> weights: array<vec4f, ${columns * down}>;
var<workgroup> parts: array<vec4f, ${across * down}>;
${entry(gpu, size, body())}`);
}

/** See `AttentionForward`. */
export const tiledForward: AttentionForward = (qkv, seen, tiles, options, scale, out, lse) => {
  const { gpu } = qkv;
  const { heads, kvHeads, headDim } = options;
  const block = chooseBlock(gpu, headDim, bytes);
  const kernel = forwardKernel(gpu, block, options, seen !== qkv);
  const workgroups = [tiles.rows * (TILE / block.rows), heads] as const;
  gpu.run(kernel, [qkv, seen, tiles, out, lse], [heads, kvHeads, f32(scale)], workgroups);
};
