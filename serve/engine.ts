import type { ChatModel } from "../data/vlm_folder.ts";
import { DeviceError, GlimpseError, OutOfMemoryError } from "../kernels/runtime/errors.ts";
import { BatchDecoder, type Sequence, type SequenceOptions } from "../model/batch_decoder.ts";
import { encodePrompt, type Prompt, type Turn } from "../model/prompt.ts";
import { Random } from "../model/random.ts";
import { Answer } from "./answer.ts";
import { type Picture, PictureStore, type PictureStoreOptions } from "./picture_store.ts";

/** How much an engine takes on. */
export interface EngineOptions extends PictureStoreOptions {
  /** Answers generated at the same time. */
  readonly slots: number;
  /** Tokens of a conversation at most, pictures and answer included. */
  readonly capacity: number;
  /** Tokens of all conversations together for which there is memory; as many as all can have unless given. */
  readonly cacheTokens?: number | undefined;
  /** Questions that may wait. */
  readonly queue: number;
}

/** What is usual where nothing else is asked for. */
export const ENGINE_DEFAULTS: EngineOptions = {
  slots: 8,
  capacity: 2048,
  queue: 64,
  maxPixels: 64_000_000,
  pictureBytes: 64 << 20,
};

/** What is asked, and how it is answered. */
export interface Question extends Omit<SequenceOptions, "random" | "stopIds"> {
  /** The conversation. */
  readonly turns: readonly Turn[];
  /** Its pictures in their order. */
  readonly pictures: readonly Picture[];
  /** Seed of what is drawn; by chance unless given. */
  readonly seed?: number;
  /** Texts that end the answer. */
  readonly stop?: readonly string[];
}

/** There are too many questions at the moment. */
export class QueueFullError extends GlimpseError {
  /** The kind of error. */
  override name = "QueueFullError";
}

/** A conversation has more tokens than the engine takes. */
export class ContextLengthError extends GlimpseError {
  /** The kind of error. */
  override name = "ContextLengthError";
}

/** A question that waits for its place. */
interface Waiting {
  readonly answer: Answer;
  readonly prompt: Prompt;
  readonly pictures: readonly Picture[];
  readonly options: SequenceOptions;
}

/** Milliseconds between two looks at what was drawn. */
const CHUNK_MS = 60;
const MOST_TOKENS = 16;

/** New pictures of several questions that are encoded together at most: the first question waits for all of them. */
const MOST_PICTURES = 4;

/** Answers questions with a model, several at the same time, in the order in which they came. */
export class Engine implements AsyncDisposable {
  /** The model. */
  readonly model: ChatModel;
  /** How much it takes on; `capacity` is at most what the model can. */
  readonly options: EngineOptions;
  /** The pictures that it has seen lately. */
  readonly pictures: PictureStore;
  /** Tokens drawn so far. */
  drawnTokens = 0;
  /** The error that keeps it from answering, if any. */
  fault: unknown;
  readonly #batch: BatchDecoder;
  readonly #waiting: Waiting[] = [];
  readonly #running = new Map<Sequence, Answer>();
  readonly #longestToken: number;
  #loop: Promise<void> | undefined;
  /** Milliseconds that a token takes, as it was lately. */
  #pace = CHUNK_MS;

  /** An engine over a model, which stays its owner's. */
  constructor(model: ChatModel, options: Partial<EngineOptions> = {}) {
    const all = { ...ENGINE_DEFAULTS, ...options };
    this.model = model;
    this.#batch = new BatchDecoder(model.vlm, all.slots, all.capacity, all.cacheTokens);
    this.options = { ...all, capacity: this.#batch.capacity };
    this.pictures = new PictureStore(model, all);
    const { tokenizer } = model;
    const ids = Array.from(
      { length: tokenizer.vocabSize },
      (_, id) => tokenizer.bytesOf(id).length,
    );
    this.#longestToken = ids.reduce((a, b) => Math.max(a, b), 1);
  }

  /** Answers that are being generated. */
  get running(): number {
    return this.#running.size;
  }

  /** Questions that wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Whether no question can be taken now. */
  get isFull(): boolean {
    return this.#batch.free + this.options.queue - this.waiting <= 0;
  }

  /**
   * Takes a question.
   *
   * @throws {QueueFullError} when too many wait.
   * @throws {ContextLengthError} when the conversation leaves no room for an answer.
   */
  ask(question: Question): Answer {
    const { model } = this;
    if (this.fault) throw this.fault;
    if (this.isFull) {
      throw new QueueFullError(
        `${this.running} questions are being answered and ${this.waiting} wait; try again later.`,
      );
    }
    const prompt = this.#encode(question);
    const { turns: _, pictures, seed, stop = [], ...options } = question;
    const answer = new Answer(model.tokenizer, {
      promptTokens: prompt.ids.length,
      stop: stop.filter((text) => text !== ""),
      cancelled: (answer) => this.#cancel(answer),
    });
    const random = new Random(seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!);
    const stopIds = [model.tokenizer.eosId];
    this.#waiting.push({ answer, prompt, pictures, options: { ...options, random, stopIds } });
    this.#loop ??= this.#run();
    return answer;
  }

  /** Waits until everything that was asked has been answered. */
  async drain(): Promise<void> {
    while (this.#loop) await this.#loop;
  }

  /** Breaks off all answers. */
  cancelAll(): void {
    for (const { answer } of [...this.#waiting]) answer.cancel();
    for (const answer of [...this.#running.values()]) answer.cancel();
  }

  /** Breaks off all answers and frees memory; the model stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.cancelAll();
    await this.drain();
    this.pictures[Symbol.dispose]();
    this.#batch[Symbol.dispose]();
  }

  #encode({ turns, pictures }: Question): Prompt {
    const { tokenizer, template, vlm } = this.model;
    const { capacity } = this.options;
    const characters = turns.flatMap(({ content = "" }) => content)
      .reduce((sum, part) => sum + (typeof part === "string" ? part.length : 0), 0);
    const least = Math.ceil(characters / this.#longestToken) +
      pictures.length * vlm.tokensPerPicture;
    // what is far too long is not worth the encoding
    const prompt = least < capacity
      ? encodePrompt(tokenizer, template, turns, vlm.tokensPerPicture)
      : undefined;
    const length = prompt?.ids.length ?? least;
    if (prompt && length < capacity) return prompt;
    const shown = pictures.length > 0 ? `, ${vlm.tokensPerPicture} of them for each picture` : "";
    throw new ContextLengthError(
      `The conversation has ${
        prompt ? "" : "at least "
      }${length} tokens${shown}; there is room for ` +
        `${capacity}, answer included (--context).`,
    );
  }

  #cancel(answer: Answer): void {
    const waiting = this.#waiting.findIndex((other) => other.answer === answer);
    if (waiting >= 0) this.#waiting.splice(waiting, 1);
    for (const [sequence, other] of this.#running) {
      if (other === answer) this.#leave(sequence);
    }
  }

  #leave(sequence: Sequence): void {
    this.#batch.leave(sequence);
    this.#running.delete(sequence);
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // who asked gets the answer first
    while (this.running + this.waiting > 0) {
      try {
        this.#admit();
        await this.#step();
      } catch (error) {
        this.#fail(error);
      }
    }
    this.#loop = undefined;
  }

  /** Ends all by an error; where memory lacked, the longest of those that were being read, or else that run. */
  #fail(error: unknown): void {
    const isBroken = this.#isBroken(error);
    if (isBroken) this.fault = error;
    const running = [...this.#running].sort(([a], [b]) => b.ids.length - a.ids.length);
    const longest = running.find(([{ started }]) => !started) ?? running[0];
    const one = error instanceof OutOfMemoryError && !isBroken && longest;
    for (const [sequence, answer] of one ? [one] : running) {
      this.#leave(sequence);
      answer.fail(error);
    }
    if (one) return;
    for (const { answer } of this.#waiting.splice(0)) answer.fail(error);
  }

  /** Whether the device works no more after an error; one that refused a tensor that is too large does. */
  #isBroken(error: unknown): boolean {
    if (!(error instanceof OutOfMemoryError)) return error instanceof DeviceError;
    try {
      this.model.vlm.gpu.check();
      return false;
    } catch {
      return true;
    }
  }

  async #step(): Promise<void> {
    const reading = [...this.#running.keys()].some(({ started }) => !started);
    const count = Math.max(1, Math.min(MOST_TOKENS, Math.round(CHUNK_MS / this.#pace)));
    const start = performance.now();
    const progress = await this.#batch.step(count);
    const drawn = Math.max(0, ...progress.map(([, tokens]) => tokens.length)); // begun by the step before
    if (!reading && drawn > 0) this.#pace = Math.max(0.1, (performance.now() - start) / drawn);
    for (const [sequence, tokens] of progress) {
      const answer = this.#running.get(sequence);
      if (!answer) continue;
      this.drawnTokens += tokens.length;
      answer.push(tokens);
      if (sequence.finish) answer.end(sequence.finish);
      if (answer.finish) this.#leave(sequence);
    }
    // a first token goes out before the next prompts are read, for which Deno waits without doing anything else
    if (reading) await new Promise((resolve) => setTimeout(resolve));
  }

  /** Gives free places to who waits. */
  #admit(): void {
    const group = this.#next();
    try {
      this.#join(group);
    } catch { // each alone, so that an error goes to whose it is
      for (const one of group.filter((one) => this.#waiting.includes(one))) {
        try {
          this.#join([one]);
        } catch (error) {
          if (this.#isBroken(error)) throw error;
          this.#cancel(one.answer);
          one.answer.fail(error);
        }
      }
    }
  }

  /** The first of those who wait, as far as there is room and their new pictures are few. */
  #next(): Waiting[] {
    const group: Waiting[] = [];
    for (const one of this.#waiting) {
      const all = [...group, one];
      const fresh = this.pictures.unseen(all.flatMap(({ pictures }) => pictures));
      if (group.length > 0 && fresh.length > MOST_PICTURES || !this.#batch.hasRoom(all)) break;
      group.push(one);
    }
    return group;
  }

  /** Gives places to some who wait, and encodes their new pictures together. */
  #join(group: readonly Waiting[]): void {
    using seen = new DisposableStack();
    const features = this.pictures.see(group.flatMap(({ pictures }) => pictures));
    features.forEach((one) => seen.use(one));
    for (const waiting of group) {
      const { answer, prompt, pictures, options } = waiting;
      const shown = features.splice(0, pictures.length);
      const sequence = this.#batch.join(
        prompt,
        shown.map((features, i) => ({ key: pictures[i]!.key, features })),
        options,
      );
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1); // not before: what fails until here fails who waits
      answer.cachedTokens = sequence.cachedTokens;
      this.#running.set(sequence, answer);
    }
  }
}
