/** How much recall counts beside precision, as COCO's evaluation has it. */
const BETA_SQUARED = 1.2 ** 2;

/**
 * ROUGE-L (Lin, 2004) as COCO's evaluation computes it: the F-measure of the best precision and the
 * best recall of the longest common subsequence, each over all references.
 *
 * @param caption Tokens.
 * @param references Tokens of each.
 * @returns Between 0 and 1.
 */
export function rougeL(
  caption: readonly string[],
  references: readonly (readonly string[])[],
): number {
  const common = references.map((reference) => commonLength(caption, reference));
  // an empty text is one empty word to the reference implementation, which two empty texts share
  const share = (common: number, tokens: readonly string[]) => common / Math.max(1, tokens.length);
  const precision = Math.max(...common.map((length) => share(length, caption)));
  const recall = Math.max(...common.map((length, i) => share(length, references[i]!)));
  if (precision === 0 || recall === 0) return 0;
  return (1 + BETA_SQUARED) * precision * recall / (recall + BETA_SQUARED * precision);
}

/** Length of the longest common subsequence. */
function commonLength(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 && b.length === 0) return 1;
  let above = new Uint32Array(b.length + 1);
  for (const token of a) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 1; j <= b.length; j++) {
      row[j] = token === b[j - 1] ? above[j - 1]! + 1 : Math.max(above[j]!, row[j - 1]!);
    }
    above = row;
  }
  return above[b.length]!;
}
