/** In which order an epoch goes through the samples, and which of them make a batch. */

import { Random } from "../model/random.ts";

/** What decides the order. */
export interface OrderOptions {
  /** Number of samples. */
  readonly length: number;
  /** The samples meant, where not all of the first `length`. */
  readonly rows?: Uint32Array | undefined;
  /** Samples a batch; the last one of an epoch has what is left. */
  readonly batchSize: number;
  /** Whether each epoch has an order of its own, rather than that of the file. */
  readonly shuffle: boolean;
  /** The seed of all shuffles. */
  readonly seed: number;
  /**
   * Where parts of the file end that are read at once: each is gone through before the next, in an
   * order that is shuffled too. All of the file is one part if left out.
   */
  readonly sections?: readonly number[] | undefined;
  /**
   * Batches within which samples of like size meet, which saves work where batches are as long as
   * their longest sample; 0, the default, for none.
   */
  readonly groupWindow?: number;
  /** The size of a sample, of any unit; needed where there is a `groupWindow`. */
  readonly sizeOf?: (index: number) => number;
}

/**
 * The order of samples: a function of the options, the epoch and the step alone, so that a run can
 * start anywhere.
 *
 * @example
 * ```ts
 * import { SampleOrder } from "./order.ts";
 *
 * const order = new SampleOrder({ length: 10, batchSize: 4, shuffle: true, seed: 42 });
 * order.stepsPerEpoch; // 3
 * order.batch(0, 2); // the two samples of the first epoch's last batch
 * ```
 */
export class SampleOrder {
  /** Batches an epoch. */
  readonly stepsPerEpoch: number;
  readonly #options: OrderOptions;
  #cached: { epoch: number; indices: Uint32Array } | undefined;

  /** An order; nothing is shuffled before an epoch is asked for. */
  constructor(options: OrderOptions) {
    this.#options = options;
    this.stepsPerEpoch = Math.ceil(options.length / options.batchSize);
  }

  /** The samples of a batch, by index; epoch and step count from 0. */
  batch(epoch: number, step: number): Uint32Array {
    const { batchSize } = this.#options;
    return this.epoch(epoch).subarray(step * batchSize, (step + 1) * batchSize);
  }

  /** All samples of an epoch in their order [length]. */
  epoch(epoch: number): Uint32Array {
    if (this.#cached?.epoch !== epoch) {
      this.#cached = { epoch, indices: epochOrder(this.#options, epoch) };
    }
    return this.#cached.indices;
  }
}

function epochOrder(options: OrderOptions, epoch: number): Uint32Array {
  const { length, rows, shuffle, seed, batchSize, groupWindow = 0, sizeOf = () => 0, sections } =
    options;
  const indices = rows?.slice() ?? Uint32Array.from({ length }, (_, index) => index);
  const random = new Random(seed).fork(`samples of epoch ${epoch}`);
  if (shuffle) {
    random.shuffle(indices);
    if (sections && sections.length > 1) gatherSections(indices, sections, random);
  }
  const window = groupWindow * batchSize;
  for (let from = 0; window > 0 && from < length; from += window) {
    groupBySize(indices.subarray(from, from + window), batchSize, sizeOf, random);
  }
  return indices;
}

/** Brings the samples of each section together, the sections in any order. */
function gatherSections(
  indices: Uint32Array,
  ends: readonly number[],
  random: Random,
): void {
  const places = Uint32Array.from(ends, (_, section) => section);
  random.shuffle(places);
  const sectionOf = (index: number) => {
    let low = 0, high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (index < ends[middle]!) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  const parts: number[][] = ends.map(() => []);
  for (const index of indices) parts[places[sectionOf(index)]!]!.push(index);
  let at = 0;
  for (const part of parts) {
    indices.set(part, at);
    at += part.length;
  }
}

/** Sorts a window by size, cuts it into batches and shuffles them; a ragged one stays at the end. */
function groupBySize(
  window: Uint32Array,
  batchSize: number,
  sizeOf: (index: number) => number,
  random: Random,
): void {
  const ragged = window.length % batchSize;
  const full = window.slice(0, window.length - ragged).sort((a, b) => sizeOf(a) - sizeOf(b));
  const batches = Uint32Array.from({ length: full.length / batchSize }, (_, batch) => batch);
  random.shuffle(batches);
  batches.forEach((batch, place) =>
    window.set(full.subarray(batch * batchSize, (batch + 1) * batchSize), place * batchSize)
  );
}

/** So many rows of `length`, spread evenly from the first on: files are often sorted, and the first would be of one kind. */
export function spreadRows(length: number, wanted: number = length): number[] {
  const count = Math.min(wanted, length);
  return Array.from({ length: count }, (_, i) => Math.floor(i * length / count));
}
