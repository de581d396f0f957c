import { embedding } from "../kernels/embedding.ts";
import { advance, type CacheRows, type KvCache } from "../kernels/kv_cache.ts";
import { linear } from "../kernels/matmul.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { BatchSampler, type PendingTokens } from "./batch_sampler.ts";
import type { Sequence } from "./sequence.ts";
import type { Vlm } from "./vlm.ts";

/** Sequences and the tokens that are being drawn for them. */
export interface Chunk extends PendingTokens {
  /** How many of each. */
  readonly count: number;
}

/** The same sequences, continued on the device chunk after chunk, none of which needs to have been looked at. */
export class BatchRun implements Disposable {
  /** The sequences. */
  readonly sequences: readonly Sequence[];
  readonly #vlm: Vlm;
  readonly #cache: KvCache;
  readonly #sampler: BatchSampler;
  readonly #rows: CacheRows;
  #tokens: Tensor;
  #longest: number;

  /** Begins behind the last token that each sequence has. */
  constructor(vlm: Vlm, cache: KvCache, sequences: readonly Sequence[]) {
    const { gpu } = vlm;
    const each = (of: (sequence: Sequence) => number): Tensor =>
      gpu.tensor(Uint32Array.from(sequences, of), [sequences.length]);
    this.sequences = sequences;
    this.#vlm = vlm;
    this.#cache = cache;
    this.#longest = Math.max(...sequences.map(({ ids }) => ids.length));
    [this.#rows, this.#tokens, this.#sampler] = gpu.detached(() => [
      { slots: each(({ slot }) => slot), positions: each(({ ids }) => ids.length - 1) },
      each(({ ids }) => ids.at(-1)!),
      new BatchSampler(vlm, sequences),
    ]);
  }

  /** Draws so many tokens of each sequence, and sends all that this takes to the device. */
  draw(count: number): Chunk {
    const { gpu, language } = this.#vlm;
    using scope = gpu.scope();
    this.#longest += count;
    const context = { cache: this.#cache, rows: this.#rows, longest: this.#longest };
    let tokens = this.#tokens;
    for (let i = 0; i < count; i++) {
      using step = gpu.scope();
      const hidden = language.forward(embedding(language.embedding, tokens), context);
      tokens = this.#sampler.draw(linear(hidden, language.embedding), step);
      advance(this.#rows);
      if (!gpu.info.software) gpu.submit(); // a device apart begins while the next is recorded
    }
    const { sequences, read, [Symbol.dispose]: dispose } = this.#sampler.take();
    this.#tokens.dispose();
    this.#tokens = scope.release(tokens);
    gpu.submit();
    return { sequences, count, read, [Symbol.dispose]: dispose };
  }

  /** Frees what it has on the device; chunks that have been drawn can still be read. */
  [Symbol.dispose](): void {
    const { slots, positions } = this.#rows;
    for (const used of [slots, positions, this.#tokens, this.#sampler]) used[Symbol.dispose]();
  }
}
