import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";
import { TILE } from "../sequences.ts";
import { type AttentionGradient, outputDots } from "./backward.ts";
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
import { type AttentionOptions, lines } from "./shape.ts";

/** A lane has a query and its output's gradient, or a key and its value; see `backwardKernel` of the tiled family for the sums. */
function backwardKernel(
  gpu: Gpu,
  { headDim, causal }: AttentionOptions,
  side: "queries" | "keys",
): Kernel {
  const vecs = headDim / 4;
  const ofKeys = side === "keys";
  const query = (at: string) => (d: number): string => texel("rows", at, `head * ${vecs}u`, d);
  const gradient = (at: string) => (d: number): string => texel("dy", at, `head * ${vecs}u`, d);
  const key = (at: string) => (d: number): string => texel("rows", at, "k", d);
  const value = (at: string) => (d: number): string => texel("rows", at, "v", d);
  const first = ofKeys ? query("at") : key("at");
  const second = ofKeys ? gradient("at_dy") : value("at");
  const seen = (j: number): string => {
    const row = `start + ${j}u`;
    if (!causal) return `${row} < end`;
    return ofKeys ? `own <= ${row} && ${row} < end` : `${row} <= own`;
  };
  // A loop rather than a line for each vec4: a store is a lot of code where each lane has a branch of its own.
  const store = (part: string, sum: string, factor: string): string =>
    `for (var d = 0u; d < p.vecs; d++) {
      let at = own * stride + ${part} + d;
      var x = vec4f();
      ${lines(vecs, (d) => `x = select(x, ${sum}${d}, d == ${d}u);`)}
      x *= ${factor};
      if (p.accumulate == 1u) { x += grad[at]; }
      grad[at] = x;
    }`;
  const loop = () => `
  for (var start = begin; start < end; start += ${LANES}u) {
    let row = min(start + lane, end - 1u);
    ${rowTexel("at", "row", "stride")}
    ${ofKeys ? rowTexel("at_dy", "row", `p.heads * ${vecs}u`) : ""}
    ${
    ofKeys
      ? "let lse_row = lse[row * p.heads + head]; let delta_row = delta[row * p.heads + head];"
      : ""
  }
    ${perLane((j) => `var s${j} = 0.0; var t${j} = 0.0;`)}
    ${passing(vecs, first, (d, c, j, x) => `s${j} += ${x} * a${d}.${c};`)}
    ${passing(vecs, second, (d, c, j, x) => `t${j} += ${x} * b${d}.${c};`)}
    ${
    perLane((j) => {
      const lse = ofKeys ? `subgroupBroadcast(lse_row, ${j}u)` : "lse_own";
      const delta = ofKeys ? `subgroupBroadcast(delta_row, ${j}u)` : "delta_own";
      return `s${j} = select(0.0, exp(min(s${j} - ${lse}, 80.0)), ${
        seen(j)
      }); t${j} = s${j} * (t${j} - ${delta});`;
    })
  }
    ${passing(vecs, first, (d, c, j, x) => `x${d}.${c} += ${x} * t${j};`)}
    ${ofKeys ? passing(vecs, second, (d, c, j, x) => `y${d}.${c} += ${x} * s${j};`) : ""}
  }`;
  const body = () =>
    `${LANE_ROWS}
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  let group_heads = p.heads / p.kv_heads;
  let kv_head = ${ofKeys ? "workgroup.y" : "workgroup.y / group_heads"};
  let k = (p.heads + kv_head) * ${vecs}u;
  let v = k + p.kv_heads * ${vecs}u;
  ${rowTexel("at_own", "own_row", "stride")}
  ${ofKeys ? "" : "let head = workgroup.y;"}
  ${ofKeys ? "" : rowTexel("at_dy", "own_row", `p.heads * ${vecs}u`)}
  ${lines(vecs, (d) => `let a${d} = ${(ofKeys ? key : query)("at_own")(d)} * p.scale;`)}
  ${lines(vecs, (d) => `let b${d} = ${ofKeys ? value("at_own")(d) : gradient("at_dy")(d)};`)}
  ${lines(vecs, (d) => `var x${d} = vec4f();${ofKeys ? ` var y${d} = vec4f();` : ""}`)}
  ${
      ofKeys
        ? `let begin = ${causal ? "first" : "tile.z"};
  let end = select(begin, tile.w, count > 0u);
  for (var head = kv_head * group_heads; head < (kv_head + 1u) * group_heads; head++) { ${loop()} }`
        : `let begin = tile.z;
  let end = select(begin, ${causal ? "first + count" : "tile.w"}, count > 0u);
  let lse_own = lse[own_row * p.heads + head];
  let delta_own = delta[own_row * p.heads + head];
  ${loop()}`
    }
  if (own < first + count) {
    ${store(ofKeys ? "k" : `head * ${vecs}u`, "x", "p.scale")}
    ${ofKeys ? store("v", "y", "1.0") : ""}
  }`;
  return gpu.kernel(`attention_lanes_d${side}/${headDim}${causal ? "/causal" : ""}`, () => `
struct Params { heads: u32, kv_heads: u32, scale: f32, vecs: u32, accumulate: u32 }
@group(0) @binding(0) var rows: ${ROWS_TEXTURE};
@group(0) @binding(1) var dy: ${ROWS_TEXTURE};
@group(0) @binding(2) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> grad: array<vec4f>;
@group(0) @binding(6) var<uniform> p: Params;
${entry(gpu, LANES, body())}`);
}

/** Computes the gradient of an attention's packed queries, keys and values. */
export function lanesBackward(
  { qkv, out, lse, dy, grad, accumulate }: AttentionGradient,
  tiles: Tensor,
  options: AttentionOptions,
  scale: number,
): void {
  const { gpu } = qkv;
  const { heads, kvHeads, headDim } = options;
  const delta = outputDots(dy, out, heads, headDim);
  const rows = toTexture("attention rows", qkv);
  const dyRows = toTexture("attention gradient", dy);
  const params = [heads, kvHeads, f32(scale), headDim / 4, Number(accumulate)];
  const blocks = tiles.rows * (TILE / LANES);
  for (const [side, n] of [["queries", heads], ["keys", kvHeads]] as const) {
    const kernel = backwardKernel(gpu, options, side);
    gpu.run(kernel, [rows, dyRows, tiles, lse, delta, grad], params, [blocks, n]);
  }
}
