import { countNgrams, LONGEST } from "./ngrams.ts";

/** What BLEU needs to know of one caption: `[tokens, reference's tokens, n-grams × 4, right ones × 4]`. */
export type BleuCounts = readonly number[];

/**
 * Counts a caption's n-grams, and those of them that a reference has at least as often. The
 * reference's length is the one nearest to the caption's, the shorter where two are.
 *
 * @param caption Tokens.
 * @param references Tokens of each.
 */
export function bleuCounts(
  caption: readonly string[],
  references: readonly (readonly string[])[],
): BleuCounts {
  const length = caption.length;
  const nearest = references.map((tokens) => tokens.length).reduce((best, other) => {
    const [a, b] = [Math.abs(best - length), Math.abs(other - length)];
    return b < a || (b === a && other < best) ? other : best;
  });
  const known = references.map(countNgrams);
  const right = countNgrams(caption).map((counts, n) =>
    counts.entries().reduce(
      (sum, [ngram, count]) =>
        sum + Math.min(count, Math.max(...known.map((of) => of[n]!.get(ngram) ?? 0))),
      0,
    )
  );
  const all = Array.from({ length: LONGEST }, (_, n) => Math.max(0, length - n));
  return [length, nearest, ...all, ...right];
}

/**
 * BLEU-4 of counts added up over all captions (Papineni et al., 2002), with COCO's tiny addends instead
 * of divisions by zero: the geometric mean of the shares of right n-grams, lowered where captions are
 * shorter than references.
 */
export function bleu4(counts: BleuCounts): number {
  const [length = 0, reference = 0] = counts;
  const all = counts.slice(2, 2 + LONGEST), right = counts.slice(2 + LONGEST);
  const product = all.reduce((p, count, n) => p * (right[n]! + 1e-15) / (count + 1e-9), 1);
  const ratio = (length + 1e-15) / (reference + 1e-9);
  return product ** (1 / LONGEST) * (ratio < 1 ? Math.exp(1 - 1 / ratio) : 1);
}
