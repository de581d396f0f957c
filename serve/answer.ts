import type { DrawnToken } from "../model/batch_decoder.ts";
import { type Tokenizer, TokenStream } from "../model/tokenizer.ts";

/** A part of an answer. */
export interface Piece {
  /** New text; empty only where tokens without one end the answer. */
  readonly text: string;
  /** The tokens drawn since the piece before, special ones left out. */
  readonly tokens: readonly DrawnToken[];
}

/** Why an answer ended: the model or a stop text ended it, there was no room for more, or nobody wanted more. */
export type Finish = "stop" | "length" | "cancelled";

/** What an answer knows of its question. */
export interface AnswerTerms {
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Texts that end it. */
  readonly stop: readonly string[];
  /** Is told once when nobody wants more of it. */
  readonly cancelled: (answer: Answer) => void;
}

/**
 * An answer that is being generated: iterate over it for its pieces as they come. Leaving the loop, or `cancel`, stops
 * it.
 */
export class Answer implements AsyncIterable<Piece> {
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Tokens of the prompt that had been read before. */
  cachedTokens = 0;
  /** Tokens drawn so far, the end token included. */
  completionTokens = 0;
  /** Why it ended, once it has. */
  finish: Finish | undefined;
  readonly #terms: AnswerTerms;
  readonly #stream: TokenStream;
  readonly #special: ReadonlySet<number>;
  readonly #pieces: Piece[] = [];
  /** Text that may be the beginning of a stop text. */
  #held = "";
  /** Tokens whose text has not been given out. */
  #untold: DrawnToken[] = [];
  #error: unknown;
  #wake: () => void = () => {};

  /** For `Engine`. */
  constructor(tokenizer: Tokenizer, terms: AnswerTerms) {
    this.#terms = terms;
    this.promptTokens = terms.promptTokens;
    this.#stream = new TokenStream(tokenizer, { skipSpecialTokens: true });
    this.#special = tokenizer.specialIds;
  }

  /** Takes tokens in; an ended answer takes none. */
  push(tokens: readonly DrawnToken[]): void {
    for (const token of tokens) {
      if (this.finish) return;
      this.completionTokens++;
      this.#held += this.#stream.push(token.id);
      if (!this.#special.has(token.id)) this.#untold.push(token);
      const at = earliest(this.#held, this.#terms.stop);
      if (at < 0) continue;
      this.#held = this.#held.slice(0, at);
      this.#giveRest();
      this.#end("stop");
    }
    const safe = this.#held.length - startedLength(this.#held, this.#terms.stop);
    if (safe > 0 && !this.finish) this.#give(safe);
  }

  /** Ends it. */
  end(finish: Finish): void {
    if (this.finish) return;
    this.#held += this.#stream.flush();
    this.#giveRest();
    this.#end(finish);
  }

  /** Ends it by an error, which its reader gets. */
  fail(error: unknown): void {
    if (this.finish) return;
    this.#error = error;
    this.#end("cancelled");
  }

  /** Ends it because nobody wants more. */
  cancel(): void {
    if (this.finish) return;
    this.#end("cancelled");
    this.#terms.cancelled(this);
  }

  /** The pieces as they come. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, void> {
    try {
      for (;;) {
        yield* this.#pieces.splice(0);
        if (this.#pieces.length > 0) continue;
        if (this.finish) break;
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
      if (this.#error !== undefined) throw this.#error;
    } finally {
      this.cancel();
    }
  }

  /** Gives out the beginning of the text, with all tokens since the last: none is alone, as half a character would be. */
  #give(length: number): void {
    this.#pieces.push({ text: this.#held.slice(0, length), tokens: this.#untold });
    this.#held = this.#held.slice(length);
    this.#untold = [];
    this.#wake();
  }

  #giveRest(): void {
    if (this.#held !== "" || this.#untold.length > 0) this.#give(this.#held.length);
  }

  #end(finish: Finish): void {
    this.finish = finish;
    this.#wake();
  }
}

/** Where the first of some texts begins in another, or −1. */
function earliest(text: string, stops: readonly string[]): number {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return found.length > 0 ? Math.min(...found) : -1;
}

/** Length of the longest end of a text with which one of the stop texts begins. */
function startedLength(text: string, stops: readonly string[]): number {
  const lengths = stops.map((stop) => {
    let n = Math.min(stop.length - 1, text.length);
    while (n > 0 && !stop.startsWith(text.slice(text.length - n))) n--;
    return n;
  });
  return Math.max(0, ...lengths);
}
