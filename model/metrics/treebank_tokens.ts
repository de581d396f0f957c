/**
 * Splits text into words as the Penn Treebank has them: marks stand alone, `isn't` is `is` and `n't`, `man's` is `man`
 * and `'s`, brackets are written `-LRB-` and `-RRB-`, and the full stop of an abbreviation is its own.
 *
 * Marcus, Santorini and Marcinkiewicz, "Building a Large Annotated Corpus of English: The Penn Treebank", 1993.
 */
export function treebankTokens(text: string): string[] {
  const plain = text.replaceAll("\u00ad", "").replace(/(?<=[\p{L}\d])’(?=\p{L})/gu, "'");
  return (plain.match(TOKEN) ?? []).flatMap((token) => {
    const first = JOINED.get(token.toLowerCase());
    return first === undefined ? WRITTEN[token] ?? token : [
      token.slice(0, first),
      token.slice(first),
    ];
  });
}

/** Words with a full stop that is theirs. */
const ABBREVIATIONS = [
  "mr|mrs|ms|dr|prof|st|mt|ft|jr|sr|rev|gen|col|capt|lt|sgt|gov|sen|rep|pres|hon",
  String.raw`ave|blvd|rd|bldg|dept|co|corp|inc|ltd|bros|vs|etc|approx|(?:no|fig)(?=\. ?\d)`,
  "jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri",
].join("|");

/** Where no letter or digit goes on, and where none came before. */
const END = String.raw`(?![\p{L}\p{N}])`, START = String.raw`(?<![\p{L}\p{N}])`;
const SUFFIX = `(?:n't|'(?:s|m|d|re|ve|ll))${END}`;
const LETTERS = String.raw`(?:(?!n't${END})[\p{L}\p{N}\p{M}])+`;

/** Kinds of tokens; the first that matches is taken. */
const TOKEN = new RegExp(
  [
    String.raw`(?:https?:\/\/|www\.)\S*[\p{L}\p{N}/]`,
    String.raw`[\w.+-]+@[\w-]+(?:\.[\w-]+)+|[@#]\p{L}+`,
    // initials and what hyphens join to them: D.C., a.m., U.S.-based, non-U.S.
    String.raw`${START}(?:\p{L}+-)?\p{L}(?:\.\p{L})+(?:\.-\p{L}+|\.)?${END}`,
    String.raw`${START}(?:\p{L}|${ABBREVIATIONS})\.${END}`,
    // numbers: 3.50, 10:30, 1,000, 1/2, 1 1/2
    String.raw`\p{N}+ \p{N}+\/\p{N}+(?![\p{L}/])|[-+]?\p{N}+(?:[.,:/]\p{N}+)+(?!\p{L})`,
    SUFFIX,
    String.raw`'\p{N}0s|'t(?=is${END}|was${END})|y'(?=all${END})`,
    // words and what joins them inside: black-and-white, and/or, AT&T, o'clock
    `${LETTERS}(?:(?!${SUFFIX})[-_/&.']${LETTERS})*`,
    String.raw`[:;]-?[()]|\.{2,}|--+|[?!]+|\*+|_+`,
    String.raw`[^\s\p{Extended_Pictographic}]`,
  ].join("|"),
  "giu",
);

/** Words that were two, and how many letters the first has. */
const JOINED: ReadonlyMap<string, number> = new Map([
  ["cannot", 3],
  ["gonna", 3],
  ["wanna", 3],
  ["gotta", 3],
  ["gimme", 3],
  ["lemme", 3],
]);

/** Tokens that are written otherwise. */
const WRITTEN: Readonly<Record<string, string>> = {
  "(": "-LRB-",
  ")": "-RRB-",
  "[": "-LSB-",
  "]": "-RSB-",
  "{": "-LCB-",
  "}": "-RCB-",
  '"': "''",
  ":)": ":-RRB-",
  ":-)": ":--RRB-",
  ";)": ";-RRB-",
  ";-)": ";--RRB-",
  ":(": ":-LRB-",
  ":-(": ":--LRB-",
  "“": "``",
  "”": "''",
  "‘": "`",
  "’": "'",
  "—": "--",
  "–": "--",
  "…": "...",
  "..": "...",
  "£": "#",
  "€": "$",
  "¢": "cents",
  "½": "1/2",
  "¼": "1/4",
  "¾": "3/4",
};
