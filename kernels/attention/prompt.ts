import { ShapeError } from "../runtime/errors.ts";
import type { Gpu } from "../runtime/gpu.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";
import { TILE } from "../sequences.ts";
import {
  type CachedAttentionOptions,
  type CacheLayer,
  type CacheRows,
  PAGE_SIZE,
} from "./decode.ts";
import { tiledForward } from "./forward.ts";
import { takesLanes } from "./lanes.ts";
import { lanesForward } from "./lanes_forward.ts";

/** A prompt of which some has been read before. */
export interface PromptRange {
  /** Its slot in the cache. */
  readonly slot: number;
  /** The first position that is to be read. */
  readonly from: number;
  /** The position after the last. */
  readonly to: number;
}

/** Rows of prompts, one after the other, that are read together. */
export interface PackedPrompts {
  /** Where the rows stand. */
  readonly rows: CacheRows;
  /** The last row of each prompt, by number and by where it stands. */
  readonly last: CacheRows & { readonly rows: Tensor };
  /** All that each prompt is from its beginning, what has been read before included. */
  readonly seen: CacheRows;
  /**
   * The rows cut into tiles of at most `TILE`: uint32 [tiles, 4], for each its first row, its number of rows, the first
   * place of its prompt in `seen`, and the place after its own last row there.
   */
  readonly tiles: Tensor;
}

/**
 * Describes prompts to the kernels, in the innermost scope.
 *
 * @throws {ShapeError} when there is none, or nothing of one is to be read.
 */
export function packPrompts(gpu: Gpu, prompts: readonly PromptRange[]): PackedPrompts {
  const wrong = prompts.find(({ from, to }) => !(from >= 0 && from < to));
  if (prompts.length === 0 || wrong) {
    throw new ShapeError(
      `Prompts cannot be read ${wrong ? `from ${wrong.from} to ${wrong.to}` : "without any"}.`,
    );
  }
  const places = (first: (prompt: PromptRange) => number): CacheRows => {
    const all = prompts.flatMap((prompt) =>
      Array.from(
        { length: prompt.to - first(prompt) },
        (_, i) => [prompt.slot, first(prompt) + i] as const,
      )
    );
    return {
      slots: gpu.tensor(Uint32Array.from(all, ([slot]) => slot), [all.length], "slots"),
      positions: gpu.tensor(Uint32Array.from(all, ([, at]) => at), [all.length], "positions"),
    };
  };
  const tiles: [row: number, count: number, begin: number, end: number][] = [];
  const last: number[] = [];
  let row = 0, begin = 0;
  for (const { from, to } of prompts) {
    for (let at = from; at < to; at += TILE) {
      const count = Math.min(TILE, to - at);
      tiles.push([row, count, begin, begin + at + count]);
      row += count;
    }
    begin += to;
    last.push(row - 1);
  }
  tiles.sort((a, b) => (b[3] - b[2]) - (a[3] - a[2])); // those that take longest first
  return {
    rows: places(({ from }) => from),
    last: {
      rows: gpu.tensor(Uint32Array.from(last), [last.length]),
      ...places(({ to }) => to - 1),
    },
    seen: places(() => 0),
    tiles: gpu.tensor(Uint32Array.from(tiles.flat()), [tiles.length, 4], "tiles"),
  };
}

/** Copies keys and values out of their pages: [S, 2·H_kv·D]. */
function gatherPages(cache: CacheLayer, { slots, positions }: CacheRows): Tensor {
  const { gpu, width } = cache.keys;
  const kernel = gpu.kernel("gather_pages", () => `
struct Params { n: u32, vecs: u32, slots: u32, pages: u32, capacity: u32 }
@group(0) @binding(0) var<storage, read> keys: array<vec4f>;
@group(0) @binding(1) var<storage, read> values: array<vec4f>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> slots: array<u32>;
@group(0) @binding(4) var<storage, read> positions: array<u32>;
@group(0) @binding(5) var<storage, read_write> rows: array<vec4f>;
@group(0) @binding(6) var<uniform> p: Params;
${
    entry(
      gpu,
      64,
      `let i = group * 64u + lane;
  if (i < p.n) {
    let row = i / p.vecs;
    let d = i % p.vecs;
    let position = min(positions[row], p.capacity - 1u);
    let per_slot = (p.capacity + ${PAGE_SIZE - 1}u) / ${PAGE_SIZE}u;
    let page = min(table[min(slots[row], p.slots - 1u) * per_slot + position / ${PAGE_SIZE}u], p.pages - 1u);
    let at = (page * ${PAGE_SIZE}u + position % ${PAGE_SIZE}u) * p.vecs + d;
    rows[row * 2u * p.vecs + d] = keys[at];
    rows[(row * 2u + 1u) * p.vecs + d] = values[at];
  }`,
    )
  }`);
  const vecs = width / 4, n = slots.size * vecs;
  const rows = gpu.empty([slots.size, 2 * width], "float32", "keys and values");
  gpu.run(
    kernel,
    [cache.keys, cache.values, cache.table, slots, positions, rows],
    [n, vecs, cache.table.rows, cache.keys.shape[0]!, cache.capacity],
    Math.ceil(n / 64),
  );
  return rows;
}

/** The launcher of `attentionPrompts`, which checks shapes and says what it does. */
export function attendPrompts(
  qkv: Tensor,
  cache: CacheLayer,
  { seen, tiles }: PackedPrompts,
  { heads, kvHeads, headDim, scale, family }: CachedAttentionOptions,
): Tensor {
  const { gpu, rows } = qkv;
  const out = gpu.empty([rows, heads * headDim]);
  using lse = gpu.empty([rows, heads], "float32", "attention sums");
  using keys = gatherPages(cache, seen);
  const forward = takesLanes(gpu, family) ? lanesForward : tiledForward;
  const options = { heads, kvHeads, headDim, causal: true };
  forward(qkv, keys, tiles, options, scale ?? 1 / Math.sqrt(headDim), out, lse);
  return out;
}
