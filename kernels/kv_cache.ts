import { checkHeads } from "./attention.ts";
import {
  type CachedAttentionOptions,
  type CacheLayer,
  type CacheRows,
  decode,
} from "./attention/decode.ts";
import type { HeadLayout } from "./rope.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry } from "./runtime/wgsl.ts";

export type { CachedAttentionOptions, CacheLayer, CacheRows };

/**
 * Keys and values of the sequences that are being continued, each in a slot of fixed capacity.
 *
 * ```ts ignore
 * using cache = new KvCache(gpu, 8, 1, 1024, { kvHeads: 2, headDim: 64 });
 * const qkv = rope(linear(x, weight), table, rows.positions, heads);
 * appendToCache(cache.layers[0]!, qkv, rows, heads);
 * const y = attentionDecode(qkv, cache.layers[0]!, rows, heads);
 * advance(rows); // to the position of the next token
 * ```
 */
export class KvCache implements Disposable {
  /** One for each layer. */
  readonly layers: readonly CacheLayer[];
  /** How many sequences it holds. */
  readonly slots: number;
  /** How many positions of each. */
  readonly capacity: number;

  /** Allocates the cache; it belongs to the caller, not to a scope. */
  constructor(
    gpu: Gpu,
    layers: number,
    slots: number,
    capacity: number,
    { kvHeads, headDim }: Pick<HeadLayout, "kvHeads" | "headDim">,
  ) {
    const empty = (): Tensor =>
      gpu.empty([slots, capacity, kvHeads * headDim], "float32", "key/value cache");
    this.slots = slots;
    this.capacity = capacity;
    this.layers = gpu.detached(() =>
      Array.from({ length: layers }, () => ({ keys: empty(), values: empty() }))
    );
  }

  /** Frees it. */
  [Symbol.dispose](): void {
    for (const { keys, values } of this.layers) {
      keys.dispose();
      values.dispose();
    }
  }
}

function check(name: string, qkv: Tensor, cache: CacheLayer, rows: CacheRows, layout: HeadLayout) {
  checkHeads(name, qkv, layout);
  const { keys } = cache;
  if (keys.width !== layout.kvHeads * layout.headDim) {
    throw new ShapeError(
      `${name}: a cache [${keys.shape}] does not hold ${layout.kvHeads} heads of width ${layout.headDim}.`,
    );
  }
  if (rows.slots.size !== qkv.rows || rows.positions.size !== qkv.rows) {
    throw new ShapeError(
      `${name}: slots [${rows.slots.shape}] and positions [${rows.positions.shape}] do not fit rows [${qkv.shape}].`,
    );
  }
}

const SIZE = 64;

/**
 * Writes the keys and values of packed rows into their slots at their positions. A position beyond the capacity, or a
 * slot that there is not, is left out: count on the host.
 *
 * @param qkv Packed queries, rotated keys, and values [T, (H + 2·H_kv)·D].
 * @throws {ShapeError} when shapes do not fit together.
 */
export function appendToCache(
  cache: CacheLayer,
  qkv: Tensor,
  rows: CacheRows,
  layout: HeadLayout,
): void {
  check("appendToCache", qkv, cache, rows, layout);
  const { gpu } = qkv;
  const { heads, kvHeads, headDim } = layout;
  const [slots, capacity] = cache.keys.shape as [number, number];
  const width = kvHeads * headDim / 4;
  const kernel = gpu.kernel("append_to_cache", () => `
struct Params { n: u32, queries: u32, width: u32, slots: u32, capacity: u32 }
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read_write> keys: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> values: array<vec4f>;
@group(0) @binding(5) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let row = i / p.width;
    let d = i % p.width;
    let slot = slots[row];
    let position = positions[row];
    if (slot < p.slots && position < p.capacity) {
      let source = row * (p.queries + 2u * p.width) + p.queries + d;
      let to = (slot * p.capacity + position) * p.width + d;
      keys[to] = qkv[source];
      values[to] = qkv[source + p.width];
    }
  }`,
    )
  }`);
  const n = qkv.rows * width;
  gpu.run(
    kernel,
    [qkv, rows.slots, rows.positions, cache.keys, cache.values],
    [n, heads * headDim / 4, width, slots, capacity],
    Math.ceil(n / SIZE),
  );
}

/**
 * Attention of new rows to what is in the cache: each row sees its slot up to its own position, which must have been
 * appended. It serves one new token in each slot as well as many rows of a prompt. No gradient.
 *
 * @param qkv Packed rows of which the (rotated) queries are used [T, (H + 2·H_kv)·D].
 * @returns [T, H·D].
 * @throws {ShapeError} when shapes do not fit together.
 */
export function attentionDecode(
  qkv: Tensor,
  cache: CacheLayer,
  rows: CacheRows,
  options: CachedAttentionOptions,
): Tensor {
  check("attentionDecode", qkv, cache, rows, options);
  return decode(qkv, cache, rows, options);
}

/** Moves every row to the next position, on the device. */
export function advance({ positions }: CacheRows): void {
  const { gpu, size } = positions;
  const kernel = gpu.kernel("advance", () => `
struct Params { n: u32 }
@group(0) @binding(0) var<storage, read_write> positions: array<u32>;
@group(0) @binding(1) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) { positions[i]++; }`,
    )
  }`);
  gpu.run(kernel, [positions], [size], Math.ceil(size / SIZE));
}
