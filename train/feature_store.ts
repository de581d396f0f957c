import { join } from "@std/path";
import { writeFileAtomic } from "../data/files.ts";

/** Where a store may keep things. */
export interface FeatureStoreOptions {
  /** Bytes of an entry; a file of another size is not taken for one. */
  readonly entryBytes: number;
  /** Bytes of memory at most. */
  readonly memory: number;
  /** A folder for what the memory does not hold. */
  readonly folder?: string | undefined;
  /** Hears once that the folder cannot be written to; entries are then lost. */
  readonly warn: (text: string) => void;
}

/**
 * Arrays of one size by name, in memory within a budget, then in a folder.
 *
 * What came first stays: whoever goes through all data again and again would push everything out of a store that
 * forgets the oldest.
 */
export class FeatureStore {
  readonly #options: FeatureStoreOptions;
  readonly #held = new Map<string, Uint8Array<ArrayBuffer>>();
  #writable: boolean;

  /** An empty store, over a folder that need not be. */
  constructor(options: FeatureStoreOptions) {
    this.#options = options;
    this.#writable = options.folder !== undefined;
  }

  /** Whether it would keep `more` entries beside those in memory. */
  takes(more: number): boolean {
    const { entryBytes, memory } = this.#options;
    return this.#writable || (this.#held.size + more) * entryBytes <= memory;
  }

  /** An entry, if it is there. */
  async get(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const held = this.#held.get(name);
    if (held || !this.#options.folder) return held;
    const bytes = await Deno.readFile(this.#path(name)).catch(() => undefined);
    if (bytes?.length !== this.#options.entryBytes) return undefined;
    this.#hold(name, bytes);
    return bytes;
  }

  /** Keeps an entry, where there is room. */
  async put(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#hold(name, bytes);
    if (!this.#writable) return;
    try {
      await writeFileAtomic(this.#path(name), bytes);
    } catch (error) {
      const first = this.#writable; // several may be under way
      this.#writable = false;
      if (!first) return;
      const why = error instanceof Error ? error.message : String(error);
      this.#options.warn(`Features of pictures are no longer kept on disk. ${why}`);
    }
  }

  #hold(name: string, bytes: Uint8Array<ArrayBuffer>): void {
    const { entryBytes, memory } = this.#options;
    if ((this.#held.size + 1) * entryBytes <= memory) this.#held.set(name, bytes);
  }

  #path(name: string): string {
    return join(this.#options.folder!, name.slice(0, 2), name);
  }
}
