import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry, range } from "../runtime/wgsl.ts";
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

/** Loads that an invocation has under way at a time: what they take is waiting, and few workgroups share it. */
const AHEAD = 8;

/** Each invocation scores a key, then each sums one vec4 of the values over some of the keys. */
function tiledKernel(gpu: Gpu, headDim: number, together: number): Kernel {
  const vecs = headDim / 4;
  const parts = Math.floor(SIZE / vecs), each = Math.ceil(SIZE / parts);
  const ofKey = range(AHEAD + 1).findLast((n) => vecs % n === 0)!, ofValues = Math.min(each, AHEAD);
  const heads = (f: (g: number) => string): string => lines(together, f);
  const body = () =>
    `${share(vecs, together, SIZE)}
  let d = lane % ${vecs}u;
  let part = lane / ${vecs}u;
  for (var i = lane; i < ${together * vecs}u; i += ${SIZE}u) {
    q[i / ${vecs}u][i % ${vecs}u] = qkv[row * stride + head * ${vecs}u + i] * p.scale;
  }
  ${heads((g) => `var m${g} = -1e30; var l${g} = 0.0; var o${g} = vec4f();`)}
  for (var start = begin; start < end; start += ${SIZE}u) {
    ${base("start")}
    let last = min(end, start + ${SIZE}u) - 1u;
    let key = base + min(start + lane, last) * pitch;
    workgroupBarrier();
    ${heads((g) => `var s${g} = 0.0;`)}
    for (var i = 0u; i < ${vecs}u; i += ${ofKey}u) {
      ${lines(ofKey, (n) => `let x${n} = keys[key + i + ${n}u];`)}
      ${lines(ofKey, (n) => heads((g) => `s${g} += dot(x${n}, q[${g}][i + ${n}u]);`))}
    }
    ${heads((g) => `weights[${g}][lane] = select(-1e30, s${g}, start + lane < end);`)}
    workgroupBarrier();
    if (lane < ${together * 8}u) {
      var top = -1e30;
      ${lines(8, (n) => `top = max(top, weights[lane / 8u][lane % 8u * 8u + ${n}u]);`)}
      tops[lane / 8u][lane % 8u] = top;
    }
    workgroupBarrier();
    ${
      heads((g) =>
        `{
      var top = m${g};
      ${lines(8, (n) => `top = max(top, tops[${g}][${n}]);`)}
      let shrink = exp(m${g} - top);
      m${g} = top;
      l${g} *= shrink;
      o${g} *= shrink;
      weights[${g}][lane] = exp(weights[${g}][lane] - top);
    }`
      )
    }
    workgroupBarrier();
    if (part < ${parts}u) {
      for (var i = part; i < ${SIZE}u; i += ${ofValues * parts}u) {
        ${
      lines(
        ofValues,
        (n) => `let x${n} = values[base + min(start + i + ${n * parts}u, last) * pitch + d];`,
      )
    }
        ${
      lines(ofValues, (n) =>
        heads((g) =>
          `{ let w = weights[${g}][i + ${n * parts}u]; l${g} += w; o${g} += w * x${n}; }`
        ))
    }
      }
    }
  }
  workgroupBarrier();
  ${heads((g) => `pieces[${g}][lane] = o${g}; weights[${g}][lane] = l${g}; tops[${g}][0] = m${g};`)}
  workgroupBarrier();
  for (var i = lane; i < ${together * vecs}u; i += ${SIZE}u) {
    let g = i / ${vecs}u;
    let at = (row * p.heads + head + g) * p.splits + workgroup.z;
    var sum = vec4f();
    var l = 0.0;
    for (var n = i % ${vecs}u; n < ${parts * vecs}u; n += ${vecs}u) {
      sum += pieces[g][n];
      l += weights[g][n];
    }
    out[at * ${vecs}u + i % ${vecs}u] = sum / select(l, 1.0, p.splits > 1u);
    if (i % ${vecs}u == 0u) { sums[at] = vec2f(tops[g][0], l); }
  }`;
  // Weights after those of the block's keys stay zero, as workgroup memory begins.
  const most = Math.ceil(each / ofValues) * ofValues * parts;
  return gpu.kernel(`attention_decode/${headDim}/${together}`, () =>
    `${PARAMS}
var<workgroup> q: array<array<vec4f, ${vecs}>, ${together}>;
var<workgroup> weights: array<array<f32, ${most}>, ${together}>;
var<workgroup> tops: array<array<f32, 8>, ${together}>;
var<workgroup> pieces: array<array<vec4f, ${SIZE}>, ${together}>;
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
    var l = 0.0;
    var o = vec4f();
    for (var s = 0u; s < p.splits; s += 8u) {
      ${
        lines(8, (n) =>
          `let at${n} = first + min(s + ${n}u, p.splits - 1u);
      let share${n} = sums[at${n}];
      let x${n} = parts[at${n} * p.vecs + i % p.vecs];`)
      }
      var top = m;
      ${lines(8, (n) => `top = max(top, share${n}.x);`)}
      let shrink = exp(m - top);
      m = top;
      l *= shrink;
      o *= shrink;
      ${
        lines(8, (n) =>
          `{
        let factor = select(0.0, exp(share${n}.x - m), s + ${n}u < p.splits);
        l += factor * share${n}.y;
        o += factor * x${n};
      }`)
      }
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
