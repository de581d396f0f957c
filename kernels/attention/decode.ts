import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";
import { LANES, takesLanes } from "./lanes.ts";
import { type AttentionOptions, lines } from "./shape.ts";

/** The keys and values that one layer has seen. */
export interface CacheLayer {
  /** Rotated keys [pages, 64, H_kv·D]. */
  readonly keys: Tensor;
  /** Values [pages, 64, H_kv·D]. */
  readonly values: Tensor;
  /** Which pages hold a slot's positions, in their order: uint32 [slots, ⌈capacity / 64⌉]. All layers have the same. */
  readonly table: Tensor;
  /** Positions of a slot. */
  readonly capacity: number;
}

/** Positions of a page. */
export const PAGE_SIZE = 64;

/** Which sequences the rows of a step belong to, and where they stand in them; both on the device. */
export interface CacheRows {
  /** Slot of each row: uint32 [T]. */
  readonly slots: Tensor;
  /** Position of each row in its slot, from 0: uint32 [T]. The row sees this position and all before it. */
  readonly positions: Tensor;
}

/** An attention against a cache; what it sees is causal. */
export interface CachedAttentionOptions extends Omit<AttentionOptions, "causal"> {
  /** The longest that any slot is known to be; the cache's capacity unless given. */
  readonly longest?: number | undefined;
}

const SIZE = 64;
/** Workgroups that keep a GPU busy, and a processor. */
const ENOUGH = 256, THREADS = navigator.hardwareConcurrency;

const PARAMS =
  `struct Params { heads: u32, kv_heads: u32, scale: f32, slots: u32, pages: u32, capacity: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> keys: array<vec4f>;
@group(0) @binding(4) var<storage, read> values: array<vec4f>;
@group(0) @binding(5) var<storage, read> pages: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> sums: array<vec2f>;
@group(0) @binding(8) var<uniform> p: Params;`;

/** A workgroup has `together` heads of a row and a share of its keys, from `begin` to `end`. */
const share = (vecs: number, together: number, step: number): string =>
  `let row = workgroup.x;
  let head = workgroup.y * ${together}u;
  let stride = (p.heads + 2u * p.kv_heads) * ${vecs}u;
  let pitch = p.kv_heads * ${vecs}u;
  let length = min(positions[row] + 1u, p.capacity);
  let blocks = (length + ${step - 1}u) / ${step}u;
  let each = (blocks + p.splits - 1u) / p.splits * ${step}u;
  let begin = workgroup.z * each;
  let end = min(begin + each, length);
  let table = min(slots[row], p.slots - 1u) * ((p.capacity + ${PAGE_SIZE - 1}u) / ${PAGE_SIZE}u);
  let column = head / (p.heads / p.kv_heads) * ${vecs}u;`;

/** Where position 0 would be if all of a slot lay as the page of position `start` does; whole numbers wrap. */
const base = (start: string): string =>
  `let page = ${start} / ${PAGE_SIZE}u;
    let base = (min(pages[table + page], p.pages - 1u) - page) * ${PAGE_SIZE}u * pitch + column;`;

/** Each invocation scores a key, then each sums one vec4 of the values over some of the keys. */
function tiledKernel(gpu: Gpu, headDim: number, together: number): Kernel {
  const vecs = headDim / 4;
  const parts = Math.floor(SIZE / vecs);
  const heads = (f: (g: number) => string): string => lines(together, f);
  const body = () =>
    `${share(vecs, together, SIZE)}
  let d = lane % ${vecs}u;
  let part = lane / ${vecs}u;
  for (var i = lane; i < ${together * vecs}u; i += ${SIZE}u) {
    q[i] = qkv[row * stride + head * ${vecs}u + i] * p.scale;
  }
  ${heads((g) => `var m${g} = -1e30; var l${g} = 0.0; var o${g} = vec4f();`)}
  for (var start = begin; start < end; start += ${SIZE}u) {
    ${base("start")}
    let key = base + min(start + lane, end - 1u) * pitch;
    workgroupBarrier();
    ${heads((g) => `var s${g} = 0.0;`)}
    for (var i = 0u; i < ${vecs}u; i++) {
      let x = keys[key + i];
      ${heads((g) => `s${g} += dot(x, q[${g * vecs}u + i]);`)}
    }
    ${
      heads((g) =>
        `s${g} = select(-1e30, s${g}, start + lane < end); weights[${g * SIZE}u + lane] = s${g};`
      )
    }
    workgroupBarrier();
    if (lane < ${together * 8}u) {
      var top = weights[lane * 8u];
      for (var i = 1u; i < 8u; i++) { top = max(top, weights[lane * 8u + i]); }
      tops[lane] = top;
    }
    workgroupBarrier();
    ${
      heads((g) =>
        `{
      var top = m${g};
      for (var i = 0u; i < 8u; i++) { top = max(top, tops[${g * 8}u + i]); }
      let shrink = exp(m${g} - top);
      m${g} = top;
      l${g} *= shrink;
      o${g} *= shrink;
      weights[${g * SIZE}u + lane] = exp(s${g} - top);
    }`
      )
    }
    workgroupBarrier();
    if (part < ${parts}u) {
      for (var i = part; i < min(${SIZE}u, end - start); i += ${parts}u) {
        let x = values[base + (start + i) * pitch + d];
        ${heads((g) => `{ let w = weights[${g * SIZE}u + i]; l${g} += w; o${g} += w * x; }`)}
      }
    }
  }
  ${
      heads((g) =>
        `workgroupBarrier();
  pieces[lane] = o${g};
  weights[lane] = l${g};
  workgroupBarrier();
  if (lane < ${vecs}u) {
    let at = (row * p.heads + head + ${g}u) * p.splits + workgroup.z;
    var sum = vec4f();
    var l = 0.0;
    for (var i = lane; i < ${parts * vecs}u; i += ${vecs}u) { sum += pieces[i]; l += weights[i]; }
    out[at * ${vecs}u + lane] = sum / select(l, 1.0, p.splits > 1u);
    if (lane == 0u) { sums[at] = vec2f(m${g}, l); }
  }`
      )
    }`;
  return gpu.kernel(`attention_decode/${headDim}/${together}`, () =>
    `${PARAMS}
var<workgroup> q: array<vec4f, ${together * vecs}>;
var<workgroup> weights: array<f32, ${together * SIZE}>;
var<workgroup> tops: array<f32, ${together * 8}>;
var<workgroup> pieces: array<vec4f, ${SIZE}>;
${entry(gpu, SIZE, body())}`);
}

/** Keys that pass at a time in the lanes family. */
const KEYS = 2;

/** Each lane has every eighth vec4 of the heads; keys and values pass by, whole rows at a time. */
function lanesKernel(gpu: Gpu, headDim: number, together: number): Kernel {
  const vecs = headDim / 4, own = Math.ceil(vecs / LANES);
  const heads = (f: (g: number) => string): string => lines(together, f);
  const keys = (f: (j: number) => string): string => lines(KEYS, f);
  const ownVecs = (f: (i: number) => string): string => lines(own, f);
  const sum = (f: (i: number) => string): string =>
    Array.from({ length: own }, (_, i) => f(i)).join(" + ");
  const body = () =>
    `${share(vecs, together, KEYS)}
  ${ownVecs((i) => `let d${i} = min(lane + ${i * LANES}u, ${vecs - 1}u);`)}
  ${
      heads((g) =>
        ownVecs((i) =>
          `let q${g}_${i} = select(vec4f(), qkv[row * stride + (head + ${g}u) * ${vecs}u + d${i}] * p.scale, ` +
          `lane + ${i * LANES}u < ${vecs}u); var o${g}_${i} = vec4f();`
        ) + `var m${g} = -1e30; var l${g} = 0.0;`
      )
    }
  for (var first = begin; first < end; first = (first / ${PAGE_SIZE}u + 1u) * ${PAGE_SIZE}u) {
  ${base("first")}
  for (var start = first; start < min(end, (page + 1u) * ${PAGE_SIZE}u); start += ${KEYS}u) {
    ${keys((j) => `let key${j} = base + min(start + ${j}u, end - 1u) * pitch;`)}
    ${keys((j) => ownVecs((i) => `let k${j}_${i} = keys[key${j} + d${i}];`))}
    ${keys((j) => ownVecs((i) => `let v${j}_${i} = values[key${j} + d${i}];`))}
    ${
      heads((g) =>
        `{
      ${
          keys((j) =>
            `let s${j} = select(-1e30, subgroupAdd(${
              sum((i) => `dot(k${j}_${i}, q${g}_${i})`)
            }), start + ${j}u < end);`
          )
        }
      var top = m${g};
      ${keys((j) => `top = max(top, s${j});`)}
      let shrink = exp(m${g} - top);
      m${g} = top;
      l${g} *= shrink;
      ${ownVecs((i) => `o${g}_${i} *= shrink;`)}
      ${
          keys((j) =>
            `let w${j} = exp(s${j} - top); l${g} += w${j}; ${
              ownVecs((i) => `o${g}_${i} += w${j} * v${j}_${i};`)
            }`
          )
        }
    }`
      )
    }
  }
  }
  ${
      heads((g) =>
        `{
    let at = (row * p.heads + head + ${g}u) * p.splits + workgroup.z;
    let r = 1.0 / select(l${g}, 1.0, p.splits > 1u);
    ${
          ownVecs((i) =>
            `if (lane + ${i * LANES}u < ${vecs}u) { out[at * ${vecs}u + d${i}] = o${g}_${i} * r; }`
          )
        }
    if (lane == 0u) { sums[at] = vec2f(m${g}, l${g}); }
  }`
      )
    }`;
  return gpu.kernel(
    `attention_decode_lanes/${headDim}/${together}`,
    () => `${PARAMS}${entry(gpu, LANES, body())}`,
  );
}

/** Puts the shares of the keys together: Σ exp(mᵢ − m)·oᵢ / Σ exp(mᵢ − m)·lᵢ. */
function combine(parts: Tensor, sums: Tensor, out: Tensor, vecs: number, splits: number): void {
  const { gpu } = out;
  const kernel = gpu.kernel("attention_combine", () => `
struct Params { n: u32, vecs: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> parts: array<vec4f>;
@group(0) @binding(1) var<storage, read> sums: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(3) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let first = i / p.vecs * p.splits;
    var m = -1e30;
    for (var s = 0u; s < p.splits; s++) { m = max(m, sums[first + s].x); }
    var l = 0.0;
    var o = vec4f();
    for (var s = 0u; s < p.splits; s++) {
      let share = sums[first + s];
      let factor = exp(share.x - m);
      l += factor * share.y;
      o += factor * parts[(first + s) * p.vecs + i % p.vecs];
    }
    out[i] = o / l;
  }`,
    )
  }`);
  const n = out.size / 4;
  gpu.run(kernel, [parts, sums, out], [n, vecs, splits], Math.ceil(n / SIZE));
}

/** The launcher of `attentionDecode`, which checks shapes and says what it does. */
export function decode(
  qkv: Tensor,
  cache: CacheLayer,
  { slots, positions }: CacheRows,
  { heads, kvHeads, headDim, scale, longest, family }: CachedAttentionOptions,
): Tensor {
  const { gpu, rows } = qkv;
  const lanes = takesLanes(gpu, family);
  const group = heads / kvHeads;
  const together = [4, 3, 2, 1].find((n) => group % n === 0)!;
  const { table, capacity } = cache;
  const most = Math.ceil(Math.min(longest ?? capacity, capacity) / SIZE);
  const wanted = lanes ? THREADS : ENOUGH;
  const splits = Math.max(1, Math.min(most, Math.floor(wanted * together / (rows * heads))));
  const out = gpu.empty([rows, heads * headDim]);
  const sums = gpu.empty([rows, heads, splits, 2], "float32", "attention sums");
  const parts = splits === 1
    ? out
    : gpu.empty([rows, heads, splits, headDim], "float32", "attention parts");
  const kernel = (lanes ? lanesKernel : tiledKernel)(gpu, headDim, together);
  gpu.run(
    kernel,
    [qkv, slots, positions, cache.keys, cache.values, table, parts, sums],
    [
      heads,
      kvHeads,
      f32(scale ?? 1 / Math.sqrt(headDim)),
      table.rows,
      cache.keys.shape[0]!,
      capacity,
      splits,
    ],
    [rows, heads / together, splits],
  );
  if (splits > 1) combine(parts, sums, out, headDim / 4, splits);
  for (const used of parts === out ? [sums] : [sums, parts]) used.dispose();
  return out;
}
