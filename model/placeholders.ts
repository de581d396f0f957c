import type { Tokenizer } from "./tokenizer.ts";

/** What stands for one token of a picture: `<|image_pad|>` where the tokenizer has it (2026), else `@` (2025). */
export function imagePlaceholder(tokenizer: Tokenizer): string {
  return tokenizer.idOf("<|image_pad|>") === undefined ? "@" : "<|image_pad|>";
}

/** Where a run of tokens begins, each time that it is there in full; runs do not overlap. */
export function findRuns(ids: ArrayLike<number>, run: readonly number[]): number[] {
  const starts: number[] = [];
  for (let at = 0; run.length > 0 && at + run.length <= ids.length;) {
    const isRun = run.every((id, i) => ids[at + i] === id);
    if (isRun) starts.push(at);
    at += isRun ? run.length : 1;
  }
  return starts;
}
