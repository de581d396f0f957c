/** Byte-pair encoding learnt from text. */

import { bpeTokenizerFiles, byteAlphabet, type TokenizerFiles } from "./byte_tokenizer.ts";
import { GPT2_PATTERN } from "./tokenizer.ts";

/** Scripts that are written without spaces between words. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

/** How a tokenizer is learnt. */
export interface TokenizerTraining {
  /** Tokens at most, the three special ones and the 256 bytes included. */
  readonly vocabSize: number;
  /** How often a pair must be there to become a token. Default 2. */
  readonly minFrequency?: number;
}

/**
 * Counts the words of texts, within which pairs are joined.
 *
 * Words are what GPT-2's pattern finds. Where a script has no spaces, they are split further as a
 * dictionary says: else whole questions that come again and again would be one token.
 */
export class WordCounts {
  readonly #counts = new Map<string, number>();
  readonly #segmenter = new Intl.Segmenter("zh", { granularity: "word" });

  /** Adds the words of a text that is there `times`. */
  add(text: string, times = 1): void {
    for (const [piece] of text.matchAll(GPT2_PATTERN)) {
      if (!UNSPACED.test(piece)) this.#count(piece, times);
      else for (const { segment } of this.#segmenter.segment(piece)) this.#count(segment, times);
    }
  }

  /** Number of different words. */
  get size(): number {
    return this.#counts.size;
  }

  /** Each word and how often it was there, in the order in which they came. */
  entries(): Iterable<[word: string, count: number]> {
    return this.#counts;
  }

  #count(word: string, times: number): void {
    this.#counts.set(word, (this.#counts.get(word) ?? 0) + times);
  }
}

/**
 * Learns a byte-level BPE tokenizer: again and again the most frequent pair becomes a token, of equals
 * the one whose tokens are older. `@` never joins others: it stands for a part of a picture.
 *
 * Source: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units"
 * (2016).
 *
 * @returns Files that transformers loads too; fewer tokens than asked for where the text has no more.
 */
export function trainTokenizer(words: WordCounts, options: TokenizerTraining): TokenizerFiles {
  const { vocabSize, minFrequency = 2 } = options;
  const corpus = new PairCorpus(words);
  const merges: [string, string][] = [];
  while (corpus.tokens.length + SPECIALS < vocabSize) {
    const pair = corpus.mostFrequent(minFrequency);
    if (!pair) break;
    merges.push([corpus.tokens[pair[0]]!, corpus.tokens[pair[1]]!]);
    corpus.join(...pair);
  }
  return bpeTokenizerFiles(merges);
}

const SPECIALS = 3;
/** More tokens than any vocabulary has; a pair is left · MOST + right. */
const MOST = 2 ** 22;

/** Words as tokens, and how often each pair stands in them. */
class PairCorpus {
  readonly tokens: string[] = byteAlphabet().sort();
  readonly #words: { ids: number[]; readonly count: number }[] = [];
  readonly #counts = new Map<number, number>();
  /** The words in which a pair stands or stood. */
  readonly #places = new Map<number, Set<number>>();
  readonly #known = new Map<string, number>(this.tokens.map((token, id) => [token, id]));
  /** A heap of pairs with the counts that they had, the most frequent first. */
  readonly #heap: [count: number, pair: number][] = [];

  constructor(words: WordCounts) {
    const alphabet = byteAlphabet();
    const idOf = new Map(this.tokens.map((token, id) => [token, id]));
    const encoder = new TextEncoder();
    for (const [word, count] of words.entries()) {
      const bytes = encoder.encode(word);
      if (bytes.length < 2) continue;
      const ids = Array.from(bytes, (byte) => idOf.get(alphabet[byte]!)!);
      this.#words.push({ ids, count });
      this.#add(this.#words.length - 1, 1);
    }
    for (const [pair, count] of this.#counts) this.#push(count, pair);
  }

  /** The most frequent pair of at least that many, if there is one. */
  mostFrequent(atLeast: number): [left: number, right: number] | undefined {
    for (let top = this.#pop(); top; top = this.#pop()) {
      const [count, pair] = top;
      const now = this.#counts.get(pair) ?? 0;
      const halves: [number, number] = [Math.floor(pair / MOST), pair % MOST];
      if (now !== count) {
        if (now > 0) this.#push(now, pair);
      } else if (count < atLeast) return undefined;
      // other halves may have made the same token before
      else if (!this.#known.has(halves.map((id) => this.tokens[id]).join(""))) return halves;
    }
    return undefined;
  }

  /** Makes a pair one token, everywhere. */
  join(left: number, right: number): void {
    const id = this.tokens.length;
    const token = this.tokens[left]! + this.tokens[right]!;
    this.tokens.push(token);
    this.#known.set(token, id);
    const pair = left * MOST + right;
    const touched = new Set<number>();
    for (const place of this.#places.get(pair) ?? []) {
      const word = this.#words[place]!;
      this.#add(place, -1);
      word.ids = joined(word.ids, left, right, id);
      this.#add(place, 1);
      for (let i = 1; i < word.ids.length; i++) {
        if (word.ids[i] === id || word.ids[i - 1] === id) {
          touched.add(word.ids[i - 1]! * MOST + word.ids[i]!);
        }
      }
    }
    this.#places.delete(pair);
    for (const pair of touched) this.#push(this.#counts.get(pair) ?? 0, pair);
  }

  #add(place: number, sign: 1 | -1): void {
    const { ids, count } = this.#words[place]!;
    for (let i = 1; i < ids.length; i++) {
      const [left, right] = [ids[i - 1]!, ids[i]!];
      if (this.tokens[left] === "@" || this.tokens[right] === "@") continue;
      const pair = left * MOST + right;
      this.#counts.set(pair, (this.#counts.get(pair) ?? 0) + sign * count);
      if (sign < 0) continue;
      const places = this.#places.get(pair);
      if (places) places.add(place);
      else this.#places.set(pair, new Set([place]));
    }
  }

  #push(count: number, pair: number): void {
    const heap = this.#heap;
    let i = heap.length;
    const entry: [number, number] = [count, pair];
    for (let parent = (i - 1) >> 1; i > 0; parent = (i - 1) >> 1) {
      if (!before(entry, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): [count: number, pair: number] | undefined {
    const heap = this.#heap;
    const [first, last] = [heap[0], heap.pop()];
    if (heap.length === 0 || !last) return first;
    let i = 0;
    for (let child = 1; child < heap.length; child = 2 * i + 1) {
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

function before(a: readonly [number, number], b: readonly [number, number]): boolean {
  return a[0] > b[0] || (a[0] === b[0] && a[1] < b[1]);
}

function joined(ids: readonly number[], left: number, right: number, id: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    const here = ids[i] === left && ids[i + 1] === right;
    result.push(here ? id : ids[i]!);
    if (here) i++;
  }
  return result;
}
