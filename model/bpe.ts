/** Byte-pair encoding of one word. */

const CACHED_WORDS = 20_000;
/** Enough for the 196 characters that stand for a picture. */
const LONGEST_CACHED = 256;

/**
 * The merges of a vocabulary, applied by rank and from the left, in n·log n steps.
 *
 * Source: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units"
 * (2016).
 */
export class Merges {
  readonly #vocab: ReadonlyMap<string, number>;
  readonly #tokens: string[] = [];
  /** The rank of a pair of ids, by left · tokens + right. */
  readonly #ranks = new Map<number, number>();
  /** The id that the pair of each rank becomes. */
  readonly #products: number[];
  readonly #cache = new Map<string, string[]>();

  /**
   * Builds the table of pairs.
   *
   * @param vocab every token's id; both halves of each merge and the two together are in it
   * @param merges the pairs by rank
   */
  constructor(vocab: ReadonlyMap<string, number>, merges: readonly [string, string][]) {
    this.#vocab = vocab;
    for (const [token, id] of vocab) this.#tokens[id] = token;
    this.#products = merges.map(([left, right], rank) => {
      this.#ranks.set(vocab.get(left)! * this.#tokens.length + vocab.get(right)!, rank);
      return vocab.get(left + right)!;
    });
  }

  /** The tokens of a word; a character that is not in the vocabulary stays by itself. */
  split(word: string): string[] {
    const known = this.#cache.get(word);
    if (known !== undefined) return known;
    const tokens = this.#merge([...word]);
    if (word.length <= LONGEST_CACHED) {
      if (this.#cache.size === CACHED_WORDS) this.#cache.clear();
      this.#cache.set(word, tokens);
    }
    return tokens;
  }

  #merge(symbols: string[]): string[] {
    const n = symbols.length;
    const ids = new Int32Array(n);
    const next = new Int32Array(n);
    const previous = new Int32Array(n);
    for (let i = 0; i < n; i++) {
      ids[i] = this.#vocab.get(symbols[i]!) ?? -1;
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    const rankAt = (i: number): number | undefined => {
      const j = next[i]!;
      return j < n && ids[i]! >= 0 && ids[j]! >= 0
        ? this.#ranks.get(ids[i]! * this.#tokens.length + ids[j]!)
        : undefined;
    };
    const heap: number[] = [];
    const offer = (i: number): void => {
      const rank = rankAt(i);
      if (rank !== undefined) push(heap, rank * n + i);
    };
    for (let i = 0; i < n; i++) offer(i);
    while (heap.length > 0) {
      const key = pop(heap);
      const i = key % n;
      const rank = (key - i) / n;
      if (symbols[i] === "" || rankAt(i) !== rank) continue; // merged since
      const j = next[i]!;
      ids[i] = this.#products[rank]!;
      symbols[i] = this.#tokens[ids[i]!]!;
      symbols[j] = "";
      next[i] = next[j]!;
      if (next[i]! < n) previous[next[i]!] = i;
      offer(i);
      if (previous[i]! >= 0) offer(previous[i]!);
    }
    return symbols.filter((symbol) => symbol !== "");
  }
}

/** Adds a key to a binary heap whose least is first. */
function push(heap: number[], key: number): void {
  let i = heap.length;
  while (i > 0) {
    const parent = (i - 1) >> 1;
    if (heap[parent]! <= key) break;
    heap[i] = heap[parent]!;
    i = parent;
  }
  heap[i] = key;
}

/** Takes the least key of a binary heap that is not empty. */
function pop(heap: number[]): number {
  const least = heap[0]!;
  const key = heap.pop()!;
  const n = heap.length;
  for (let i = 0; i < n;) {
    let child = 2 * i + 1;
    if (child + 1 < n && heap[child + 1]! < heap[child]!) child++;
    if (child >= n || heap[child]! >= key) {
      heap[i] = key;
      break;
    }
    heap[i] = heap[child]!;
    i = child;
  }
  return least;
}
