import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import { entry } from "../runtime/wgsl.ts";
import { TILE } from "../sequences.ts";
import {
  LANE_ROWS,
  LANES,
  passing,
  perLane,
  ROWS_TEXTURE,
  rowTexel,
  texel,
  toTexture,
} from "./lanes.ts";
import { type AttentionForward, type AttentionOptions, keyColumns, lines } from "./shape.ts";

/** A lane has a query of one head; see `forwardKernel` of the tiled family for the sums. */
function forwardKernel(gpu: Gpu, { headDim, causal }: AttentionOptions, cached: boolean): Kernel {
  const vecs = headDim / 4;
  const body = () =>
    `${LANE_ROWS}
  let head = workgroup.y;
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  let q = head * ${vecs}u;
  ${keyColumns(vecs, cached)}
  ${rowTexel("at_own", "own_row", "stride")}
  ${lines(vecs, (d) => `let q${d} = ${texel("rows", "at_own", "q", d)} * p.scale;`)}
  ${lines(vecs, (d) => `var o${d} = vec4f();`)}
  var m = -1e30;
  var l = 0.0;
  let end = select(tile.z, ${causal ? "first + count + shift" : "tile.w"}, count > 0u);
  for (var start = tile.z; start < end; start += ${LANES}u) {
    ${rowTexel("at", "min(start + lane, end - 1u)", "key_stride")}
    ${perLane((j) => `var s${j} = 0.0;`)}
    ${
      passing(
        vecs,
        (d) => texel("seen", "at", "k", d),
        (d, c, j, value) => `s${j} += ${value} * q${d}.${c};`,
      )
    }
    ${
      perLane((j) =>
        `s${j} = select(-1e30, s${j}, start + ${j}u ${causal ? "<= own + shift" : "< end"});`
      )
    }
    let top = max(max(max(max(s0, s1), max(s2, s3)), max(max(s4, s5), max(s6, s7))), m);
    let shrink = exp(m - top);
    m = top;
    ${perLane((j) => `s${j} = exp(s${j} - m);`)}
    l = l * shrink + (((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)));
    ${lines(vecs, (d) => `o${d} *= shrink;`)}
    ${
      passing(
        vecs,
        (d) => texel("seen", "at", "v", d),
        (d, c, j, value) => `o${d}.${c} += ${value} * s${j};`,
      )
    }
  }
  if (own < first + count) {
    let at = own * p.heads + head;
    lse[at] = m + log(l);
    let r = 1.0 / l;
    ${lines(vecs, (d) => `out[at * ${vecs}u + ${d}u] = o${d} * r;`)}
  }`;
  const key = `attention_lanes/${headDim}${causal ? "/causal" : ""}${cached ? "/cached" : ""}`;
  return gpu.kernel(key, () => `
struct Params { heads: u32, kv_heads: u32, scale: f32 }
@group(0) @binding(0) var rows: ${ROWS_TEXTURE};
@group(0) @binding(1) var seen: ${ROWS_TEXTURE};
@group(0) @binding(2) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;
${entry(gpu, LANES, body())}`);
}

/** See `AttentionForward`. */
export const lanesForward: AttentionForward = (qkv, seen, tiles, options, scale, out, lse) => {
  const { gpu } = qkv;
  const { heads, kvHeads } = options;
  const rows = toTexture("attention rows", qkv);
  const keys = seen === qkv ? rows : toTexture("attention keys and values", seen);
  const kernel = forwardKernel(gpu, options, seen !== qkv);
  const workgroups = [tiles.rows * (TILE / LANES), heads] as const;
  gpu.run(kernel, [rows, keys, tiles, out, lse], [heads, kvHeads, f32(scale)], workgroups);
};
