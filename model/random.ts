/** Random numbers that are the same for the same seed, on every machine. */

import { UsageError } from "../kernels/runtime/errors.ts";

/** All that a generator remembers: four 32-bit numbers, ready for JSON. */
export type RandomState = readonly [number, number, number, number];

/**
 * A generator of random numbers: xoshiro128** with a period of 2^128 − 1, seeded through splitmix32.
 *
 * Sources: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2021); Steele,
 * Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
 *
 * @example
 * ```ts
 * import { Random } from "@glimpse/vlm";
 *
 * const random = new Random(42);
 * const order = random.fork("epoch 1").shuffle([0, 1, 2, 3]);
 * const saved = random.state(); // and later: random.restore(saved)
 * ```
 */
export class Random {
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  /**
   * Starts the sequence of a seed.
   *
   * @param seed a whole number from 0 to 2^53 − 1
   * @throws UsageError for any other
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new UsageError(`The seed ${seed} is not a whole number from 0 to 2^53 − 1.`);
    }
    this.#seed([seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
  }

  /** A whole number from 0 to 2^32 − 1. */
  uint32(): number {
    const scrambled = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotate(this.#d, 11);
    return scrambled;
  }

  /** Uniform in [0, 1), of 53 random bits. */
  float(): number {
    const high = this.uint32() >>> 5;
    return (high * 2 ** 26 + (this.uint32() >>> 6)) / 2 ** 53;
  }

  /** Normal with mean 0 and standard deviation 1 (Box and Muller, 1958). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.float()));
    return radius * Math.cos(2 * Math.PI * this.float());
  }

  /**
   * A whole number from 0 to n − 1, each as likely as the others.
   *
   * @param n a whole number from 1 to 2^32
   */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new UsageError(`No whole number from 0 to ${n} − 1 can be drawn.`);
    }
    const end = 2 ** 32 - 2 ** 32 % n;
    let drawn = this.uint32();
    while (drawn >= end) drawn = this.uint32();
    return drawn % n;
  }

  /** Puts an array in a random order, in place, and gives it back (Fisher and Yates, 1938). */
  shuffle<A extends { length: number; [index: number]: unknown }>(array: A): A {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [array[i], array[j]] = [array[j], array[i]];
    }
    return array;
  }

  /**
   * Another generator for a purpose of its own, the same for the same state and label. This one
   * does not move, so that what is drawn for one purpose changes nothing for another.
   */
  fork(label: string | number): Random {
    const fork = new Random(0);
    fork.#seed([...this.state(), ...new TextEncoder().encode(String(label))]);
    return fork;
  }

  /** What {@linkcode Random.restore} goes on from. */
  state(): RandomState {
    return [this.#a >>> 0, this.#b >>> 0, this.#c >>> 0, this.#d >>> 0];
  }

  /**
   * Goes on from a state as if nothing had been drawn since.
   *
   * @throws UsageError where the value is no generator's state
   */
  restore(state: readonly number[]): void {
    const [a = NaN, b = NaN, c = NaN, d = NaN] = state;
    const words = state.every((word) => word === word >>> 0);
    if (!words || state.length !== 4 || (a | b | c | d) === 0) {
      throw new UsageError(`${JSON.stringify(state)} is not the state of a random generator.`);
    }
    [this.#a, this.#b, this.#c, this.#d] = [a, b, c, d];
  }

  /** Four lanes mix every word, in order; as they start apart, they end apart, and never all 0. */
  #seed(words: number[]): void {
    const lane = (start: number): number =>
      mix(words.reduce((x, word) => mix(x) ^ word, start)) | 0;
    [this.#a, this.#b, this.#c, this.#d] = [lane(1), lane(2), lane(3), lane(4)];
  }
}

function rotate(x: number, by: number): number {
  return (x << by) | (x >>> (32 - by));
}

/** One step of splitmix32: a Weyl sequence and the finalizer of MurmurHash3. */
function mix(x: number): number {
  x = (x + 0x9e3779b9) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return x ^ (x >>> 15);
}
