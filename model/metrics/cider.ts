import { countNgrams, LONGEST } from "./ngrams.ts";

/** Standard deviation of the penalty for a length that differs, in tokens. */
const SIGMA = 6;

/** A caption and what it is compared with. */
export interface Captioned {
  /** Tokens. */
  readonly caption: readonly string[];
  /** Tokens of each reference. */
  readonly references: readonly (readonly string[])[];
}

interface Weighted {
  /** Weights of the n-grams of each length. */
  readonly weights: readonly ReadonlyMap<string, number>[];
  /** Their Euclidean lengths. */
  readonly norms: readonly number[];
  /** Number of pairs of words, by which the reference implementation measures a caption. */
  readonly pairs: number;
}

/**
 * CIDEr-D (Vedantam et al., 2015) of each caption: the cosine between weights of n-grams, rare ones
 * counting more, clipped and lowered where lengths differ; averaged over n = 1…4 and references, times
 * 10. How rare an n-gram is, the references of all pictures tell: with a single picture all is 0.
 *
 * @returns A score for each caption, between 0 and 10; their mean is the data set's.
 */
export function cider(all: readonly Captioned[]): number[] {
  const references = all.map(({ references }) => references.map(countNgrams));
  const pictures = new Map<string, number>();
  for (const counts of references) {
    const known = new Set(counts.flatMap((one) => one.flatMap((of) => [...of.keys()])));
    for (const ngram of known) pictures.set(ngram, (pictures.get(ngram) ?? 0) + 1);
  }
  const most = Math.log(all.length);
  const weigh = (counts: readonly ReadonlyMap<string, number>[]): Weighted => {
    const weights = counts.map((of) =>
      new Map(
        of.entries().map(([ngram, count]): [string, number] => [
          ngram,
          count * (most - Math.log(Math.max(1, pictures.get(ngram) ?? 0))),
        ]),
      )
    );
    const norms = weights.map((of) => Math.sqrt(of.values().reduce((sum, w) => sum + w * w, 0)));
    return { weights, norms, pairs: counts[1]!.values().reduce((sum, count) => sum + count, 0) };
  };
  return all.map(({ caption }, i) => {
    const said = weigh(countNgrams(caption));
    const sum = references[i]!.reduce((sum, one) => sum + similarity(said, weigh(one)), 0);
    return 10 * sum / LONGEST / references[i]!.length;
  });
}

/** The cosines of all lengths added up. */
function similarity(said: Weighted, reference: Weighted): number {
  const penalty = Math.exp(-((said.pairs - reference.pairs) ** 2) / (2 * SIGMA ** 2));
  return said.weights.reduce((sum, weights, n) => {
    const product = weights.entries().reduce((sum, [ngram, weight]) => {
      const other = reference.weights[n]!.get(ngram) ?? 0;
      return sum + Math.min(weight, other) * other;
    }, 0);
    return sum + penalty * product / (said.norms[n]! * reference.norms[n]! || 1);
  }, 0);
}
