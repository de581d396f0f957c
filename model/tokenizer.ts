/** Text to token ids and back, with the byte-level BPE tokenizers that Hugging Face's files describe. */

import {
  BPE,
  ByteLevelPreTokenizer,
  SequencePreTokenizer,
  Tokenizer as BpeTokenizer,
} from "@huggingface/tokenizers";
import { FormatError } from "../kernels/runtime/errors.ts";
import { Merges } from "./bpe.ts";
import { byteAlphabet } from "./byte_tokenizer.ts";
import { type AddedToken, readTokenizerFiles, type TokenizerModel } from "./tokenizer_files.ts";

/**
 * GPT-2's pattern with Unicode's White_Space in the place of `\s`, as the regular expressions of
 * Rust and Python read it: JavaScript's `\s` lacks U+0085 and has U+FEFF.
 */
export const GPT2_PATTERN: RegExp =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** How {@linkcode Tokenizer.encode} reads special tokens. */
export interface EncodeOptions {
  /**
   * Whether `<|im_start|>` in the text is that token (the default), or just those 12 characters, so
   * that a person's text cannot end its own turn.
   */
  special?: boolean;
}

/** How ids are turned into text. */
export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  skipSpecialTokens?: boolean;
}

/**
 * A byte-level BPE tokenizer, equal to the one that transformers builds from the same two files.
 *
 * @example
 * ```ts
 * import { byteTokenizer, Tokenizer } from "@glimpse/vlm";
 *
 * const { tokenizer, config } = byteTokenizer();
 * const t = new Tokenizer(tokenizer, config);
 * t.decode(t.encode("<|im_start|>user\nHi")); // the same text
 * ```
 */
export class Tokenizer {
  /** One more than the highest id: the rows that an embedding needs. */
  readonly vocabSize: number;
  /** The token that opens a turn, where the files name one. */
  readonly bosId: number | undefined;
  /** The token that ends an answer. */
  readonly eosId: number;
  /** The token that fills a batch's shorter rows; {@linkcode eosId} where the files name none. */
  readonly padId: number;
  /** The ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #bytes: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  readonly #bpe: BpeTokenizer;
  readonly #plainBpe: BpeTokenizer;

  /**
   * Checks the files and builds the tables.
   *
   * @param tokenizer the parsed `tokenizer.json`
   * @param config the parsed `tokenizer_config.json`
   * @throws FormatError where the files are malformed or describe another kind of tokenizer
   */
  constructor(tokenizer: unknown, config: unknown) {
    const files = readTokenizerFiles(tokenizer, config);
    this.#ids = files.ids;
    const byteOf = new Map(byteAlphabet().map((character, byte) => [character, byte]));
    for (const [token, id] of files.ids) this.#bytes[id] = tokenBytes(token, byteOf);
    this.vocabSize = this.#bytes.length;
    this.specialIds = new Set(files.special.map((token) => this.#named(token)));
    this.bosId = files.bos === undefined ? undefined : this.#named(files.bos);
    this.eosId = this.#named(files.eos);
    this.padId = files.pad === undefined ? this.eosId : this.#named(files.pad);
    const merges = new Merges(new Map(Object.entries(files.model.vocab)), files.model.merges);
    this.#bpe = bpeTokenizer(files.raw, files.added, files.model, merges);
    const plain = files.added.filter(({ content }) => !files.special.includes(content));
    const vocab = Object.fromEntries(
      Object.entries(files.model.vocab).filter(([token]) => !files.special.includes(token)),
    );
    this.#plainBpe = bpeTokenizer(files.raw, plain, { ...files.model, vocab }, merges);
  }

  /** The token ids of a text; nothing is added before or after. */
  encode(text: string, { special = true }: EncodeOptions = {}): number[] {
    return (special ? this.#bpe : this.#plainBpe).encode(text, { add_special_tokens: false }).ids;
  }

  /** The text of token ids; bytes that are not UTF-8 become U+FFFD, and unknown ids nothing. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const stream = new TokenStream(this, options);
    let text = "";
    for (const id of ids) text += stream.push(id);
    return text + stream.flush();
  }

  /** The id of one whole token as the files spell it (`<|im_end|>`, `Ġthe`), where there is one. */
  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  /** The bytes that a token stands for; empty for an id that no token has. */
  bytesOf(id: number): Uint8Array<ArrayBuffer> {
    return this.#bytes[id] ?? NO_BYTES;
  }

  #named(token: string): number {
    const id = this.#ids.get(token);
    if (id !== undefined) return id;
    throw new FormatError(
      `tokenizer_config.json names the token ${JSON.stringify(token)}, which tokenizer.json lacks.`,
    );
  }
}

/**
 * Token ids to text, one at a time: a character is given out when its last byte has come, so that
 * the pieces together are what {@linkcode Tokenizer.decode} gives for all ids at once.
 */
export class TokenStream {
  readonly #tokenizer: Tokenizer;
  readonly #skipSpecialTokens: boolean;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** A stream of one answer; {@linkcode TokenStream.flush} makes it ready for another. */
  constructor(tokenizer: Tokenizer, { skipSpecialTokens = false }: DecodeOptions = {}) {
    this.#tokenizer = tokenizer;
    this.#skipSpecialTokens = skipSpecialTokens;
  }

  /** The text that this token completes, often empty within a character of several tokens. */
  push(id: number): string {
    if (this.#skipSpecialTokens && this.#tokenizer.specialIds.has(id)) return "";
    return this.#decoder.decode(this.#tokenizer.bytesOf(id), { stream: true });
  }

  /** What is left: U+FFFD for a character whose last byte never came. */
  flush(): string {
    return this.#decoder.decode();
  }
}

const NO_BYTES = new Uint8Array(0);

/** A token outside the byte alphabet (an added token with a space, say) stands for itself. */
function tokenBytes(token: string, byteOf: Map<string, number>): Uint8Array<ArrayBuffer> {
  const bytes = Array.from(token, (character) => byteOf.get(character));
  return bytes.includes(undefined)
    ? new TextEncoder().encode(token)
    : Uint8Array.from(bytes as number[]);
}

function bpeTokenizer(
  raw: Record<string, unknown>,
  added: AddedToken[],
  model: TokenizerModel,
  merges: Merges,
): BpeTokenizer {
  try {
    const bpe = new BpeTokenizer({ ...raw, added_tokens: added, model }, {});
    // The package's own is equal, but takes five times as long.
    if (bpe.model instanceof BPE) bpe.model.bpe = (word) => merges.split(word);
    const pending = [bpe.pre_tokenizer];
    for (const step of pending) {
      if (step instanceof SequencePreTokenizer) pending.push(...step.tokenizers);
      if (step instanceof ByteLevelPreTokenizer) step.pattern = GPT2_PATTERN;
    }
    return bpe;
  } catch (error) {
    throw new FormatError(`tokenizer.json is not usable: ${(error as Error).message}.`);
  }
}
