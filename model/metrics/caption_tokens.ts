import { treebankTokens } from "./treebank_tokens.ts";

/** Tokens that COCO's evaluation throws away. It also lists brackets, but in capitals, which no token has. */
const PUNCTUATION = new Set(
  ["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"],
);

/** Letters that are written without spaces, and the marks between them. */
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/gu;
const UNSPACED_MARKS = /[。，、；：？！]/g;

/**
 * Splits a caption as COCO's evaluation (`pycocoevalcap`) does before it scores: the Penn Treebank's tokens in lower case
 * (`isn't` is `is n't`, `man's` is `man 's`, `(` is `-lrb-`), punctuation left out.
 *
 * Letters of scripts that are written without spaces (Han, kana) are tokens by themselves, as is usual where Chinese captions
 * are scored; COCO's evaluation would make one token of a clause.
 */
export function captionTokens(caption: string): string[] {
  const spaced = caption.replace(UNSPACED, " $& ");
  const text = spaced === caption ? caption : spaced.replace(UNSPACED_MARKS, " ");
  // a fraction such as "1 1/2" is a token with a space, at which scores split it again
  return treebankTokens(text.replaceAll("\n", " ")).join(" ").toLowerCase().split(/\s+/)
    .filter((token) => token !== "" && !PUNCTUATION.has(token));
}
