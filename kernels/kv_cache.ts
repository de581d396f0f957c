import { checkHeads } from "./attention.ts";
import {
  type CachedAttentionOptions,
  type CacheLayer,
  type CacheRows,
  decode,
  PAGE_SIZE,
} from "./attention/decode.ts";
import {
  attendPrompts,
  type PackedPrompts,
  packPrompts,
  type PromptRange,
} from "./attention/prompt.ts";
import type { HeadLayout } from "./rope.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry } from "./runtime/wgsl.ts";

export type { CachedAttentionOptions, CacheLayer, CacheRows, PackedPrompts, PromptRange };
export { packPrompts, PAGE_SIZE };

/** What a slot's table holds where there is no page. */
const NO_PAGE = 0xffffffff;

/**
 * Keys and values of the sequences that are being continued, each in a slot. A slot's positions lie in pages of 64, so
 * that slots share memory by what they use.
 *
 * ```ts ignore
 * using cache = new KvCache(gpu, 8, 1, 1024, { kvHeads: 2, headDim: 64 });
 * const qkv = linear(x, weight);
 * appendToCache(cache.layers[0]!, qkv, table, rows, heads);
 * const y = attentionDecode(qkv, cache.layers[0]!, rows, heads);
 * advance(rows); // to the position of the next token
 * ```
 */
export class KvCache implements Disposable {
  /** One for each layer. */
  readonly layers: readonly CacheLayer[];
  /** How many sequences it holds. */
  readonly slots: number;
  /** How many positions of each at most. */
  readonly capacity: number;
  /** How many pages there are for all of them. */
  readonly pages: number;
  readonly #table: Tensor;
  readonly #host: Uint32Array<ArrayBuffer>;

  /**
   * Allocates the cache; it belongs to the caller, not to a scope.
   *
   * @param pages Pages for all slots, none of which has any until `assign`. Unless given, each slot has all that it can use.
   */
  constructor(
    gpu: Gpu,
    layers: number,
    slots: number,
    capacity: number,
    { kvHeads, headDim }: Pick<HeadLayout, "kvHeads" | "headDim">,
    pages?: number,
  ) {
    const perSlot = pagesFor(capacity);
    this.slots = slots;
    this.capacity = capacity;
    this.pages = pages ?? slots * perSlot;
    this.#host = Uint32Array.from(
      { length: slots * perSlot },
      (_, i) => pages === undefined ? i : NO_PAGE,
    );
    const empty = (): Tensor =>
      gpu.empty([this.pages, PAGE_SIZE, kvHeads * headDim], "float32", "key/value cache");
    [this.#table, this.layers] = gpu.detached(() => {
      const table = gpu.tensor(this.#host, [slots, perSlot], "pages of the key/value cache");
      const layer = () => ({ keys: empty(), values: empty(), table, capacity });
      return [table, Array.from({ length: layers }, layer)];
    });
  }

  /**
   * Gives a slot pages, in the order of its positions; what it had before is no longer its own.
   *
   * @throws {ShapeError} for a slot, a page or a number of pages that there is not.
   */
  assign(slot: number, pages: readonly number[]): void {
    const perSlot = pagesFor(this.capacity);
    const isSlot = slot >= 0 && slot < this.slots;
    if (!isSlot || pages.length > perSlot || pages.some((page) => !(page < this.pages))) {
      throw new ShapeError(
        `The pages ${pages} cannot be given to slot ${slot}: there are ${this.slots} slots of up to ${perSlot} pages ` +
          `and ${this.pages} pages.`,
      );
    }
    const row = this.#host.subarray(slot * perSlot, (slot + 1) * perSlot);
    row.fill(NO_PAGE);
    row.set(pages);
    this.#table.gpu.write(this.#table, this.#host);
  }

  /** Frees it. */
  [Symbol.dispose](): void {
    this.#table.dispose();
    for (const { keys, values } of this.layers) {
      keys.dispose();
      values.dispose();
    }
  }
}

/** How many pages some positions take. */
export function pagesFor(positions: number): number {
  return Math.ceil(positions / PAGE_SIZE);
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
 * Turns the queries of packed rows by their positions, in place, and writes their keys, turned, and values into their
 * slots; see `rope`. A position beyond the capacity or without a page, or a slot that there is not, is left out: count
 * on the host.
 *
 * @param qkv Packed queries, keys, and values [T, (H + 2·H_kv)·D].
 * @param table From `ropeTable`; positions beyond it count as its last.
 * @throws {ShapeError} when shapes do not fit together.
 */
export function appendToCache(
  cache: CacheLayer,
  qkv: Tensor,
  table: Tensor,
  rows: CacheRows,
  layout: HeadLayout,
): void {
  check("appendToCache", qkv, cache, rows, layout);
  const { gpu } = qkv;
  const { heads, kvHeads, headDim } = layout;
  if (table.width !== headDim) {
    throw new ShapeError(
      `appendToCache: a table [${table.shape}] does not fit heads of width ${headDim}.`,
    );
  }
  const size = headDim % 8 === 0 ? 4 : 1;
  const kernel = gpu.kernel(`append_to_cache/${size}`, () => `
alias T = ${size === 4 ? "vec4f" : "f32"};
struct Params { n: u32, heads: u32, kv_heads: u32, half: u32, positions: u32, slots: u32, pages: u32, capacity: u32 }
@group(0) @binding(0) var<storage, read_write> qkv: array<T>;
@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read> pages: array<u32>;
@group(0) @binding(5) var<storage, read_write> keys: array<T>;
@group(0) @binding(6) var<storage, read_write> values: array<T>;
@group(0) @binding(7) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let n = group * ${SIZE}u + lane;
  if (n < p.n) {
    let all = p.heads + 2u * p.kv_heads;
    let i = n % p.half;
    let head = n / p.half % all;
    let row = n / p.half / all;
    let at = (row * all + head) * 2u * p.half + i;
    let position = positions[row];
    let angle = min(position, p.positions - 1u) * 2u * p.half + i;
    let turns = head < p.heads + p.kv_heads;
    let c = select(T(1.0), table[angle], turns);
    let s = select(T(0.0), table[angle + p.half], turns);
    let a = qkv[at];
    let b = qkv[at + p.half];
    let low = a * c - b * s;
    let high = b * c + a * s;
    let slot = slots[row];
    let per_slot = (p.capacity + ${PAGE_SIZE - 1}u) / ${PAGE_SIZE}u;
    let place = min(slot, p.slots - 1u) * per_slot + min(position / ${PAGE_SIZE}u, per_slot - 1u);
    let page = pages[place];
    let kept = slot < p.slots && position < p.capacity && page < p.pages;
    let to = (page * ${PAGE_SIZE}u + position % ${PAGE_SIZE}u) * p.kv_heads * 2u * p.half + i;
    if (head < p.heads) {
      qkv[at] = low;
      qkv[at + p.half] = high;
    } else if (kept && turns) {
      let o = to + (head - p.heads) * 2u * p.half;
      keys[o] = low;
      keys[o + p.half] = high;
    } else if (kept) {
      let o = to + (head - p.heads - p.kv_heads) * 2u * p.half;
      values[o] = low;
      values[o + p.half] = high;
    }
  }`,
    )
  }`);
  const half = headDim / 2 / size;
  const n = qkv.rows * (heads + 2 * kvHeads) * half;
  gpu.run(
    kernel,
    [qkv, table, rows.slots, rows.positions, cache.table, cache.keys, cache.values],
    [n, heads, kvHeads, half, table.rows, cache.table.rows, cache.keys.shape[0]!, cache.capacity],
    Math.ceil(n / SIZE),
  );
}

/**
 * Attention of new rows to what is in the cache: each row sees its slot up to its own position, which must have been
 * appended. It is made for one new token in each slot; see `attentionPrompts` for many. No gradient.
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

/**
 * The same for the rows of whole prompts, whose keys and values pass by once for several rows.
 *
 * ```ts ignore
 * const prompts = packPrompts(gpu, [{ slot: 0, from: 0, to: 300 }]);
 * appendToCache(layer, qkv, table, prompts.rows, heads);
 * const y = attentionPrompts(qkv, layer, prompts, heads);
 * ```
 *
 * @param qkv Packed rows of which the (rotated) queries are used [T, (H + 2·H_kv)·D].
 * @returns [T, H·D].
 * @throws {ShapeError} when shapes do not fit together.
 */
export function attentionPrompts(
  qkv: Tensor,
  cache: CacheLayer,
  prompts: PackedPrompts,
  options: CachedAttentionOptions,
): Tensor {
  check("attentionPrompts", qkv, cache, prompts.rows, options);
  return attendPrompts(qkv, cache, prompts, options);
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
