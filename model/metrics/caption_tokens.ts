/** Tokens that COCO's evaluation throws away after it has split a caption. */
const PUNCTUATION = new Set(
  ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--"]
    .concat("...", ";"),
);

/** What is a token by itself, tried in this order at each place of a text in lower case. */
const TOKEN = new RegExp(
  [
    String.raw`(?:https?:\/\/|www\.)[^\s"<>]+[^\s"<>.,;:!?)]`,
    String.raw`[\w.+-]+@[\w-]+(?:\.[\w-]+)+`,
    String.raw`(?:[a-z]\.){2,}`, // u.s.
    String.raw`(?:mr|mrs|ms|dr|st|jr|sr|vs|prof|mt|etc)\.(?=\s|$)`,
    String.raw`[+-]?\d+(?:[.,:\/]\d+)*(?:st|nd|rd|th|s)?(?![\p{L}\d])`,
    String.raw`[\p{L}\d\p{M}]+(?:[-_&\/][\p{L}\d\p{M}]+)*?(?=n['’]t\b)`, // do|n't
    String.raw`n['’]t\b`,
    String.raw`['’](?:s|m|d|re|ve|ll)\b`,
    String
      .raw`[\p{L}\d\p{M}]+(?:[-_&\/][\p{L}\d\p{M}]+)*(?:['’](?!(?:s|m|d|re|ve|ll)\b)[\p{L}\d]+)*`,
    String.raw`\.{2,}|-{2,}|['’]{2}|${"``"}`,
    String.raw`\S`,
  ].join("|"),
  "gu",
);

/** Brackets as the Penn Treebank writes them. In lower case, as here, COCO's evaluation keeps them. */
const BRACKETS: Readonly<Record<string, string>> = {
  "(": "-lrb-",
  ")": "-rrb-",
  "{": "-lcb-",
  "}": "-rcb-",
  "[": "-lsb-",
  "]": "-rsb-",
};

/** Words that the Penn Treebank takes for two. */
const TWO_WORDS = /^(can|got|gon|wan|gim|lem)(not|ta|na|me)$/;
const JOINED = new Set(["cannot", "gotta", "gonna", "wanna", "gimme", "lemme"]);

/**
 * Splits a caption as COCO's evaluation does before it scores: lower case, the Penn Treebank's tokens
 * (`isn't` is `is n't`, `man's` is `man 's`, `(` is `-lrb-`), punctuation left out.
 *
 * The evaluation runs Stanford's tokenizer, a grammar of some thousand lines. This one follows its
 * rules for what captions are made of; it differs for rarer things, such as a hyphen within a long
 * list of prefixes, or emoticons. Letters of scripts that are written without spaces (Han, kana) are
 * tokens by themselves, as is usual where Chinese captions are scored.
 */
export function captionTokens(caption: string): string[] {
  const spaced = caption.toLowerCase().replace(
    /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/gu,
    " $& ",
  );
  const tokens: string[] = [];
  for (const [token] of spaced.matchAll(TOKEN)) {
    const plain = token.replaceAll("’", "'");
    if (JOINED.has(plain)) tokens.push(...TWO_WORDS.exec(plain)!.slice(1));
    else tokens.push(BRACKETS[plain] ?? plain);
  }
  return tokens.filter((token) =>
    !PUNCTUATION.has(token) && !/^[“”‘’"–—…。，、；：？！]$/.test(token)
  );
}
