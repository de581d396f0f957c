import { pagesFor } from "../kernels/kv_cache.ts";

/** Which pages of a key/value cache belong to whom. */
export class PagePool {
  readonly #free: number[];
  readonly #owned: number[][];

  /** All pages free, and owners without any. */
  constructor(pages: number, owners: number) {
    this.#free = Array.from({ length: pages }, (_, i) => pages - 1 - i);
    this.#owned = Array.from({ length: owners }, () => []);
  }

  /** Pages that nobody has. */
  get free(): number {
    return this.#free.length;
  }

  /** The pages of an owner, in the order of its positions. */
  of(owner: number): readonly number[] {
    return this.#owned[owner]!;
  }

  /**
   * Makes an owner's pages as many as hold some positions, those of the first positions being kept.
   *
   * @returns Whether there were enough; if not, nothing changed.
   */
  resize(owner: number, positions: number): boolean {
    const owned = this.#owned[owner]!;
    const count = pagesFor(positions);
    if (count - owned.length > this.free) return false;
    while (owned.length < count) owned.push(this.#free.pop()!);
    this.#free.push(...owned.splice(count));
    return true;
  }
}
