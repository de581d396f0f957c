/** From logits to the next token, on the host. */

import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import type { Random } from "./random.ts";

/** How the next token is chosen, in the order in which it is applied. */
export interface SamplingOptions {
  /** Above 1, tokens that stand in the text already become less likely. Default 1. */
  repetitionPenalty?: number;
  /** Below 1 the likely tokens become likelier; 0 takes the likeliest. Default 1. */
  temperature?: number;
  /** Only this many of the likeliest tokens; 0 is all. Default 0. */
  topK?: number;
  /** Only the likeliest tokens that together have this probability. Default 1. */
  topP?: number;
  /** Only tokens that are at least this fraction as likely as the likeliest. Default 0. */
  minP?: number;
}

/**
 * Checks options and fills in what they leave out.
 *
 * @throws UsageError that names the option
 */
export function checkedSampling(options: SamplingOptions): Required<SamplingOptions> {
  const { repetitionPenalty = 1, temperature = 1, topK = 0, topP = 1, minP = 0 } = options;
  const check = (ok: boolean, name: string, value: number, range: string): void => {
    if (!ok) throw new UsageError(`${name} is ${value}; it must be ${range}.`);
  };
  const finite = Number.isFinite;
  const penaltyOk = finite(repetitionPenalty) && repetitionPenalty > 0;
  check(penaltyOk, "The repetition penalty", repetitionPenalty, "a number above 0");
  check(finite(temperature) && temperature >= 0, "The temperature", temperature, "0 or above");
  check(Number.isInteger(topK) && topK >= 0, "top_k", topK, "a whole number, 0 for no limit");
  check(topP >= 0 && topP <= 1, "top_p", topP, "from 0 to 1");
  check(minP >= 0 && minP <= 1, "min_p", minP, "from 0 to 1");
  return { repetitionPenalty, temperature, topK, topP, minP };
}

/**
 * The probability of each next token, as transformers computes it: repetition penalty, temperature,
 * top-k, top-p, min-p, softmax.
 *
 * @param logits [vocabulary]
 * @param previous the ids of the text so far, each punished once; read for the repetition penalty
 * @param options see {@linkcode SamplingOptions}
 * @returns [vocabulary], with sum 1; 1 at one token where the temperature is 0
 * @throws UsageError for an option out of its range, GlimpseError for logits that are not numbers
 */
export function probabilities(
  logits: ArrayLike<number>,
  previous: Iterable<number> = [],
  options: SamplingOptions = {},
): Float64Array {
  const { repetitionPenalty, temperature, topK, topP, minP } = checkedSampling(options);
  const scores = Float64Array.from(logits);
  if (repetitionPenalty !== 1) {
    for (const id of new Set(previous)) {
      const score = scores[id];
      if (score !== undefined) {
        scores[id] = score < 0 ? score * repetitionPenalty : score / repetitionPenalty;
      }
    }
  }
  const best = argmax(scores);
  if (temperature === 0) return scores.map((_, id) => id === best ? 1 : 0);
  const most = scores[best]!; // taken off first, so that no temperature above 0 overflows
  for (let id = 0; id < scores.length; id++) scores[id] = (scores[id]! - most) / temperature;
  if (topK > 0 && topK < scores.length) keepTopK(scores, topK);
  let probs = softmax(scores);
  if (topP < 1) {
    keepTopP(scores, probs, topP);
    probs = softmax(scores);
  }
  if (minP > 0) {
    const least = minP * probs[best]!;
    for (let id = 0; id < scores.length; id++) if (probs[id]! < least) scores[id] = -Infinity;
    probs = softmax(scores);
  }
  return probs;
}

/**
 * Draws a token.
 *
 * @param probs [vocabulary], at least one of them above 0; they need not add up to 1
 * @param random where the one number that is drawn comes from
 */
export function sample(probs: ArrayLike<number>, random: Random): number {
  let sum = 0;
  for (let id = 0; id < probs.length; id++) sum += probs[id]!;
  let left = random.float() * sum;
  let drawn = -1;
  for (let id = 0; id < probs.length; id++) {
    if (!(probs[id]! > 0)) continue;
    drawn = id;
    left -= probs[id]!;
    if (left < 0) break;
  }
  if (drawn < 0) throw new GlimpseError("No token can be drawn: no probability is above 0.");
  return drawn;
}

/**
 * The place of the largest number, the first of equals.
 *
 * @throws GlimpseError where there is none: an empty list, NaN, +∞, or nothing above −∞
 */
export function argmax(values: ArrayLike<number>): number {
  let best = -1;
  let most = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value) || value === Infinity) {
      throw new GlimpseError(
        `The logit of token ${i} is ${value}: the weights or the device are at fault.`,
      );
    }
    if (value > most) [best, most] = [i, value];
  }
  if (best < 0) throw new GlimpseError("There is no finite logit to choose a token by.");
  return best;
}

/** exp(x − max) / Σ exp(x − max) */
function softmax(scores: Float64Array): Float64Array {
  const max = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const exps = scores.map((score) => Math.exp(score - max));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((x) => x / sum);
}

/** Rules out what is below the k-th largest score; equals of it stay. */
function keepTopK(scores: Float64Array, k: number): void {
  const least = scores.toSorted()[scores.length - k]!;
  for (let id = 0; id < scores.length; id++) if (scores[id]! < least) scores[id] = -Infinity;
}

/** Rules out the least likely tokens, which together have a probability of at most 1 − p. */
function keepTopP(scores: Float64Array, probs: Float64Array, p: number): void {
  const ids = Uint32Array.from(scores.keys()).filter((id) => probs[id]! > 0)
    .sort((a, b) => probs[a]! - probs[b]! || a - b);
  let sum = 0;
  for (const id of ids.subarray(0, -1)) {
    sum += probs[id]!;
    if (sum > 1 - p) break;
    scores[id] = -Infinity;
  }
}
