/** Keeps what was used last, as long as it fits into a budget. */
export class Lru<V> {
  readonly #budget: number;
  readonly #sizeOf: (value: V) => number;
  readonly #evicted: (value: V) => void;
  readonly #entries = new Map<string, V>();
  #size = 0;

  /**
   * An empty store.
   *
   * @param budget Sum of the sizes at most.
   * @param sizeOf Size of a value.
   * @param evicted Is told of each value that goes.
   */
  constructor(
    budget: number,
    sizeOf: (value: V) => number,
    evicted: (value: V) => void = () => {},
  ) {
    this.#budget = budget;
    this.#sizeOf = sizeOf;
    this.#evicted = evicted;
  }

  /** Sum of the sizes of what is kept. */
  get size(): number {
    return this.#size;
  }

  /** A value, which thereby was used last. */
  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }

  /** Puts a value in and others out, the longest unused first; the new one too when it alone is too large. */
  set(key: string, value: V): void {
    this.delete(key);
    this.#entries.set(key, value);
    this.#size += this.#sizeOf(value);
    for (const old of this.#entries.keys()) {
      if (this.#size <= this.#budget) break;
      this.delete(old);
    }
  }

  /** Puts a value out; whether it was there. */
  delete(key: string): boolean {
    const value = this.#entries.get(key);
    if (value === undefined) return false;
    this.#entries.delete(key);
    this.#size -= this.#sizeOf(value);
    this.#evicted(value);
    return true;
  }

  /** Puts everything out. */
  clear(): void {
    for (const key of [...this.#entries.keys()]) this.delete(key);
  }

  /** The values, the longest unused first. */
  values(): Iterable<V> {
    return this.#entries.values();
  }
}
