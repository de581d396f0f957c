import { Random } from "../random.ts";

/** A number that sums over all items tell. */
export interface Measure {
  /** What each item adds to the sums [items][parts]. */
  readonly parts: readonly (readonly number[])[];
  /** The number. */
  readonly of: (sums: readonly number[]) => number;
}

/** A number, and between which bounds it lies in 95 of 100 samples. */
export interface Interval {
  /** Of all items. */
  readonly value: number;
  /** The 2.5th percentile. */
  readonly low: number;
  /** The 97.5th. */
  readonly high: number;
}

/** Samples that are drawn. */
const SAMPLES = 1000;

/** The number of all items of a measure. */
export function measured({ parts, of }: Measure): number {
  return of(sumOf(parts, parts.keys()));
}

/**
 * A 95% interval by bootstrap (Efron, 1979): the percentiles of the number over samples of as many items,
 * drawn with replacement.
 *
 * @param measure What is measured.
 * @param seed Of the draws.
 */
export function interval(measure: Measure, seed: number): Interval {
  const { length } = measure.parts;
  return around(
    measured(measure),
    length,
    seed,
    (items) => measure.of(sumOf(measure.parts, items)),
  );
}

/**
 * The interval of how much a second measure is above a first, of the same items: both are taken of the same
 * samples, which leaves out what makes items hard for both.
 */
export function difference(first: Measure, second: Measure, seed: number): Interval {
  const value = measured(second) - measured(first);
  return around(
    value,
    first.parts.length,
    seed,
    (items) => second.of(sumOf(second.parts, items)) - first.of(sumOf(first.parts, items)),
  );
}

function around(
  value: number,
  length: number,
  seed: number,
  of: (items: Uint32Array) => number,
): Interval {
  const random = new Random(seed);
  const items = new Uint32Array(length);
  const found = Array.from({ length: SAMPLES }, () => {
    for (let i = 0; i < length; i++) items[i] = random.below(length);
    return of(items);
  }).filter(Number.isFinite).sort((a, b) => a - b);
  const at = (share: number) => found[Math.round(share * (found.length - 1))] ?? NaN;
  return { value, low: at(0.025), high: at(0.975) };
}

function sumOf(parts: readonly (readonly number[])[], items: Iterable<number>): number[] {
  const sums = Array.from(parts[0] ?? [], () => 0);
  for (const item of items) parts[item]!.forEach((part, i) => (sums[i] = sums[i]! + part));
  return sums;
}
