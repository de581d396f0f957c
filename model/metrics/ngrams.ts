/** The longest n-grams that BLEU-4 and CIDEr count. */
export const LONGEST = 4;

/** How often each n-gram of 1 to 4 tokens stands in a text; one map for each length. */
export function countNgrams(tokens: readonly string[]): Map<string, number>[] {
  return Array.from({ length: LONGEST }, (_, i) => {
    const counts = new Map<string, number>();
    for (let at = 0; at + i < tokens.length; at++) {
      const ngram = tokens.slice(at, at + i + 1).join(" ");
      counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
    }
    return counts;
  });
}
