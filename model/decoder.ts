import { embedding } from "../kernels/embedding.ts";
import { advance, type CacheRows, KvCache, packPrompts } from "../kernels/kv_cache.ts";
import { linear } from "../kernels/matmul.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { PendingRead } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { sampleTokens, samplingSettings, seenTokens } from "../kernels/sample_tokens.ts";
import type { Prompt } from "./prompt.ts";
import type { Random } from "./random.ts";
import { checkedSampling, type SamplingOptions } from "./sampling.ts";
import type { Vlm } from "./vlm.ts";

/** How an answer is generated. */
export interface GenerateOptions extends SamplingOptions {
  /** Tokens after which it ends at the latest. */
  readonly maxNewTokens: number;
  /** Tokens that end it. */
  readonly stopIds: readonly number[];
  /** Draws the tokens. */
  readonly random: Random;
}

/** Tokens computed between two readings at most; those after a stop are thrown away. */
const MOST_AHEAD = 16;

/**
 * Continues one sequence, token by token, with the keys and values of what has been read kept.
 *
 * ```ts ignore
 * using decoder = new Decoder(vlm, 1024);
 * decoder.read(prompt, features);
 * for await (const id of decoder.generate(options)) stream.push(id);
 * ```
 */
export class Decoder implements Disposable {
  readonly #vlm: Vlm;
  readonly #cache: KvCache;
  /** Tokens whose keys and values are in the cache. */
  #ids: number[] = [];
  #logits: Tensor | undefined;

  /** A decoder for sequences of up to `capacity` tokens, pictures included. */
  constructor(vlm: Vlm, capacity: number) {
    const { num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, ...rest } =
      vlm.config.language;
    this.#vlm = vlm;
    const most = Math.min(capacity, rest.max_position_embeddings);
    const headDim = hidden_size / num_attention_heads;
    this.#cache = new KvCache(vlm.gpu, num_hidden_layers, 1, most, {
      kvHeads: num_key_value_heads,
      headDim,
    });
  }

  /** Tokens read and generated so far. */
  get length(): number {
    return this.#ids.length;
  }

  /** Forgets everything. */
  clear(): void {
    this.#ids = [];
    this.#setLogits(undefined);
  }

  /**
   * Reads a conversation up to where the answer begins. What it shares with the conversation before, up to its first
   * picture, is not computed again.
   *
   * @param prompt The whole conversation.
   * @param features Features of all its pictures' patches.
   * @throws {ShapeError} when it does not fit into the capacity.
   */
  read(prompt: Prompt, features?: Tensor): void {
    const { gpu } = this.#vlm;
    const { ids, imageRows } = prompt;
    if (ids.length === 0 || ids.length > this.#cache.capacity) {
      throw new ShapeError(
        `A prompt of ${ids.length} tokens does not fit; between 1 and ${this.#cache.capacity} can be read.`,
      );
    }
    // the last token is always read, for its prediction, and so are pictures, which ids do not tell apart
    const known = Math.min(
      commonPrefix(this.#ids, ids.subarray(0, -1)),
      ...imageRows.subarray(0, 1),
    );
    using scope = gpu.scope();
    const rest = imageRows.filter((row) => row >= known);
    const pictures = rest.length > 0 ? features : undefined;
    const x = this.#vlm.embed(ids.slice(known), rest.map((row) => row - known), pictures);
    const prompts = packPrompts(gpu, [{ slot: 0, from: known, to: ids.length }]);
    const context = { cache: this.#cache, rows: prompts.rows, prompts, longest: ids.length };
    const hidden = this.#vlm.language.forward(x, context, prompts.last.rows);
    this.#setLogits(scope.release(linear(hidden, this.#vlm.language.embedding)));
    this.#ids = [...ids];
    gpu.submit();
  }

  /** Generates the answer to what has been read, token by token; the one that ends it is the last. */
  async *generate(options: GenerateOptions): AsyncGenerator<number, void, void> {
    const { maxNewTokens, stopIds, random } = options;
    const { gpu, config } = this.#vlm;
    const sampling = checkedSampling(options);
    using settings = gpu.detached(() => samplingSettings(gpu, [sampling]));
    using seen = gpu.detached(() => seenTokens(gpu, [this.#ids], config.language.vocab_size));
    const start = this.length;
    const most = Math.min(maxNewTokens, this.#cache.capacity - start);
    let begun = 0;
    const begin = (ahead: number): PendingRead | undefined => {
      const count = Math.min(ahead, most - begun);
      if (count <= 0) return undefined;
      const read = this.#draw(count, start + begun, settings, seen, random);
      begun += count;
      return read;
    };
    let ahead = 1;
    let next = begin(ahead);
    try {
      while (next) {
        const reading = next(); // returns when they are drawn
        reading.catch(() => {}); // awaited below, unless beginning more fails
        next = begin(ahead = Math.min(2 * ahead, MOST_AHEAD)); // while the numbers are on their way
        for (const bytes of await reading) {
          const id = new Uint32Array(bytes)[0]!;
          this.#ids.push(id);
          yield id;
          if (stopIds.includes(id)) return;
        }
      }
    } finally {
      if (this.length < start + begun) this.#setLogits(undefined); // they follow what was thrown away
      next?.[Symbol.dispose]();
    }
  }

  /** Frees the cache. */
  [Symbol.dispose](): void {
    this.#setLogits(undefined);
    this.#cache[Symbol.dispose]();
  }

  /** Draws tokens from a position on and reads each of them, all on the device; what it returns waits for them. */
  #draw(
    count: number,
    position: number,
    settings: Tensor,
    seen: Tensor,
    random: Random,
  ): PendingRead {
    if (!this.#logits) throw new ShapeError("Nothing has been read yet that could be answered.");
    const { gpu, language } = this.#vlm;
    using scope = gpu.scope();
    const rows: CacheRows = {
      slots: gpu.tensor(new Uint32Array(1), [1]),
      positions: gpu.tensor(Uint32Array.of(position), [1]),
    };
    const context = { cache: this.#cache, rows, longest: position + count };
    const drawn: Tensor[] = [];
    let logits = this.#logits;
    for (let i = 0; i < count; i++) {
      const uniform = gpu.tensor(Float32Array.of(random.float()), [1]);
      const token = sampleTokens(logits, settings, uniform, seen);
      drawn.push(token);
      using step = gpu.scope();
      const hidden = language.forward(embedding(language.embedding, token), context);
      logits = step.keep(linear(hidden, language.embedding));
      advance(rows);
      if (!gpu.info.software) gpu.submit(); // a device apart begins while the next is recorded
    }
    this.#setLogits(scope.release(logits));
    const read = gpu.recordRead(drawn);
    gpu.submit();
    return read;
  }

  #setLogits(logits: Tensor | undefined): void {
    this.#logits?.dispose();
    this.#logits = logits;
  }
}

function commonPrefix(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  return i;
}
