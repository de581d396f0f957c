import { KvCache, pagesFor } from "../kernels/kv_cache.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { readPrompts } from "./batch_prompts.ts";
import { BatchRun, type Chunk } from "./batch_run.ts";
import type { PendingTokens } from "./batch_sampler.ts";
import { PagePool } from "./page_pool.ts";
import type { Prompt } from "./prompt.ts";
import { type DrawnToken, type PromptPicture, Sequence, type SequenceOptions } from "./sequence.ts";
import type { Vlm } from "./vlm.ts";

export { type DrawnToken, type PromptPicture, Sequence, type SequenceOptions };
export type { TokenLogprob } from "./sequence.ts";

/** Rows of prompts that are read at once at most, unless one prompt alone has more. */
const MOST_ROWS = 2048;

/** Tokens that were drawn for a sequence. */
export type Progress = readonly [sequence: Sequence, tokens: readonly DrawnToken[]];

/** What says how much room a sequence needs. */
export interface JoinRequest {
  /** Where the answer begins. */
  readonly prompt: Pick<Prompt, "ids">;
  /** How long it may become. */
  readonly options: Pick<SequenceOptions, "maxNewTokens">;
}

/** A place for one sequence. */
interface Slot {
  /** What it was given: ids, and keys where pictures are. */
  keys: (number | string)[];
  /** How many of them are in the cache. */
  held: number;
  /** What has joined the batch here. */
  sequence: Sequence | undefined;
  /** Grows with each use. */
  lastUsed: number;
}

/**
 * Continues several sequences together: they join and leave while others run, each with settings of its own. A place
 * remembers what it has read, so that a conversation that goes on is read only where it is new.
 *
 * ```ts ignore
 * using batch = new BatchDecoder(vlm, 8, 2048);
 * const sequence = batch.join(prompt, pictures, options);
 * while (batch.running > 0) {
 *   for (const [sequence, tokens] of await batch.step(4)) show(sequence, tokens);
 * }
 * ```
 */
export class BatchDecoder implements Disposable {
  /** Tokens of a sequence at most, pictures and answer included. */
  readonly capacity: number;
  readonly #vlm: Vlm;
  readonly #cache: KvCache;
  readonly #slots: Slot[];
  readonly #pages: PagePool;
  #clock = 0;
  /** Those that are being continued, and their next tokens, if they have been begun. */
  #run: BatchRun | undefined;
  #ahead: Chunk | undefined;

  /**
   * A decoder of up to `slots` sequences of up to `capacity` tokens.
   *
   * @param tokens Tokens of all sequences together for which there is memory, at least `capacity`; as many as all
   *   places can hold unless given.
   */
  constructor(vlm: Vlm, slots: number, capacity: number, tokens: number = Infinity) {
    const { num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, ...rest } =
      vlm.config.language;
    this.#vlm = vlm;
    this.capacity = Math.min(capacity, rest.max_position_embeddings);
    const most = pagesFor(this.capacity);
    const pages = Math.max(most, Math.min(pagesFor(tokens), slots * most));
    this.#pages = new PagePool(pages, slots);
    const heads = { kvHeads: num_key_value_heads, headDim: hidden_size / num_attention_heads };
    this.#cache = new KvCache(vlm.gpu, num_hidden_layers, slots, this.capacity, heads, pages);
    this.#slots = Array.from({ length: slots }, () => ({
      keys: [],
      held: 0,
      sequence: undefined,
      lastUsed: 0,
    }));
  }

  /** Sequences that have not ended. */
  get running(): number {
    return this.#slots.length - this.free;
  }

  /** Sequences that may join. */
  get free(): number {
    return this.#slots.filter(({ sequence }) => !sequence).length;
  }

  /**
   * Lets a sequence join; its prompt is read in the next step.
   *
   * @param prompt Where the answer begins.
   * @param pictures The prompt's pictures in their order. Their features are kept alive as long as they are needed.
   * @throws {ShapeError} when the prompt leaves no room for an answer, has other pictures than those given, or there is
   *   no place or no memory for it; ask `hasRoom` before.
   */
  join(prompt: Prompt, pictures: readonly PromptPicture[], options: SequenceOptions): Sequence {
    const { ids, pictureCount } = prompt;
    if (ids.length === 0 || ids.length >= this.capacity) {
      throw new ShapeError(
        `A prompt of ${ids.length} tokens does not fit; between 1 and ${
          this.capacity - 1
        } can be read.`,
      );
    }
    if (pictures.length !== pictureCount) {
      throw new ShapeError(
        `${pictures.length} pictures were given for a prompt that shows ${pictureCount}.`,
      );
    }
    const keys = this.#keysOf(prompt, pictures);
    const free = this.#slots.filter(({ sequence }) => !sequence);
    const known = free.map((slot) => this.#known(slot, keys, prompt.imageRows));
    const most = Math.max(...known);
    const slot =
      free.filter((_, i) => known[i] === most).sort((a, b) => a.lastUsed - b.lastUsed)[0];
    if (!slot) throw new ShapeError(`All ${this.#slots.length} places of the batch are taken.`);
    const at = this.#slots.indexOf(slot);
    this.#reserve(slot, this.#reach(ids.length, options));
    slot.sequence = new Sequence(prompt, pictures, options, at, most);
    slot.keys = keys;
    slot.held = most;
    return slot.sequence;
  }

  /** Whether all of these may join now. */
  hasRoom(requests: readonly JoinRequest[]): boolean {
    const idle = this.#slots.flatMap(({ sequence }, slot) => sequence ? [] : this.#pages.of(slot));
    const pages = requests.reduce(
      (sum, { prompt, options }) => sum + pagesFor(this.#reach(prompt.ids.length, options)),
      0,
    );
    return requests.length <= this.free && pages <= this.#pages.free + idle.length;
  }

  /** Lets a sequence leave before its end. */
  leave(sequence: Sequence): void {
    const slot = this.#slots[sequence.slot]!;
    if (slot.sequence !== sequence) return;
    if (!sequence.started) { for (const { features } of sequence.pictures) features.dispose(); }
    slot.sequence = undefined;
    slot.lastUsed = ++this.#clock;
    if (this.running === 0) this.#stop();
  }

  /**
   * Reads the prompts of those that joined, which draws their first tokens; when nobody has, draws the next tokens of
   * all. While these are on their way, those after them are begun, which the next step then gives.
   *
   * @param count How many tokens of each are begun before they are looked at; what comes after an end is thrown away.
   * @returns The new tokens of each sequence. Those that ended have left.
   */
  async step(count: number): Promise<Progress[]> {
    const here = this.#slots.flatMap(({ sequence }) => sequence ?? []);
    const fresh = here.filter(({ started }) => !started);
    const begun = this.#ahead;
    this.#ahead = undefined;
    if (!begun && fresh.length > 0) {
      const first = readPrompts(this.#vlm, this.#cache, this.#readable(fresh));
      return this.#accept(first, await first.read());
    }
    const chunk = begun ?? this.#begin(here, 0, count);
    if (!chunk) return [];
    const drawn = chunk.read(); // on Deno returns when they are drawn
    drawn.catch(() => {}); // is awaited below, unless beginning fails
    if (fresh.length === 0) this.#ahead = this.#begin(here, chunk.count, count);
    return this.#accept(chunk, await drawn);
  }

  /** Frees the cache. */
  [Symbol.dispose](): void {
    this.#stop();
    for (const { sequence } of this.#slots) if (sequence) this.leave(sequence);
    this.#cache[Symbol.dispose]();
  }

  /** Tokens of a sequence when it has become as long as it may. */
  #reach(promptTokens: number, { maxNewTokens }: Pick<SequenceOptions, "maxNewTokens">): number {
    return Math.min(promptTokens + maxNewTokens, this.capacity);
  }

  /** Gives a place its pages; when there are too few, idle places forget what they hold, the longest unused first. */
  #reserve(slot: Slot, tokens: number): void {
    const at = this.#slots.indexOf(slot);
    const idle = this.#slots.filter((other) => other !== slot && !other.sequence)
      .sort((a, b) => a.lastUsed - b.lastUsed);
    while (!this.#pages.resize(at, tokens)) {
      const oldest = idle.shift();
      if (!oldest) throw new ShapeError(`There is no memory for ${tokens} tokens more.`);
      oldest.held = 0;
      this.#pages.resize(this.#slots.indexOf(oldest), 0);
    }
    this.#cache.assign(at, this.#pages.of(at));
  }

  /** Ids, with keys in the rows of pictures. */
  #keysOf({ ids, imageRows }: Prompt, pictures: readonly PromptPicture[]): (number | string)[] {
    const keys: (number | string)[] = [...ids];
    const each = this.#vlm.tokensPerPicture;
    imageRows.forEach((row, i) => keys[row] = pictures[Math.floor(i / each)]!.key);
    return keys;
  }

  /** How much of a prompt a place holds: less than all, for the last token is always read, and whole pictures. */
  #known(slot: Slot, keys: readonly (number | string)[], imageRows: Uint32Array): number {
    const most = Math.min(slot.held, keys.length - 1);
    let known = 0;
    while (known < most && slot.keys[known] === keys[known]) known++;
    const each = this.#vlm.tokensPerPicture;
    for (let i = 0; i < imageRows.length; i += each) {
      if (imageRows[i]! < known && known <= imageRows[i + each - 1]!) return imageRows[i]!;
    }
    return known;
  }

  /** The first of those that joined, as many as are read together. */
  #readable(fresh: readonly Sequence[]): Sequence[] {
    let rows = 0;
    const fits = ({ ids, cachedTokens }: Sequence) =>
      (rows += ids.length - cachedTokens) <= MOST_ROWS;
    return fresh.filter((sequence, i) => fits(sequence) || i === 0);
  }

  /**
   * Begins to draw the next tokens of sequences.
   *
   * @param known How many of each have been begun that have not been looked at.
   * @returns Nothing where one of them ends before, or the others may not go on.
   */
  #begin(sequences: readonly Sequence[], known: number, count: number): Chunk | undefined {
    const rooms = sequences.map(({ ids, promptTokens, options }) =>
      this.#reach(promptTokens, options) - ids.length - known
    );
    if (!(Math.min(...rooms) > 0) || sequences.length === 0) return undefined;
    const same = sequences.length === this.#run?.sequences.length &&
      sequences.every((sequence, i) => sequence === this.#run?.sequences[i]);
    if (!same) {
      if (known > 0) return undefined; // who has left meanwhile is not to be waited for
      this.#stop();
      this.#run = new BatchRun(this.#vlm, this.#cache, sequences);
    }
    return this.#run!.draw(Math.min(count, Math.max(...rooms)));
  }

  /** Forgets what has been begun. */
  #stop(): void {
    this.#ahead?.[Symbol.dispose]();
    this.#run?.[Symbol.dispose]();
    this.#ahead = this.#run = undefined;
  }

  #accept({ sequences }: PendingTokens, drawn: readonly DrawnToken[][]): Progress[] {
    return sequences.flatMap((sequence, i): Progress[] => {
      const slot = this.#slots[sequence.slot]!;
      if (slot.sequence !== sequence) return []; // it has left meanwhile
      slot.held = sequence.ids.length; // the last drawn token is not read yet
      const taken = sequence.accept(drawn[i]!, this.capacity);
      for (const { id } of taken) slot.keys.push(id);
      slot.held += taken.length - 1;
      if (sequence.finish) this.leave(sequence);
      return [[sequence, taken]];
    });
  }
}
