/**
 * A word as a POSIX shell reads it back, and as a terminal shows it: what is not plain stands in
 * quotes, and control characters are written out.
 */
export function shellWord(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  // deno-lint-ignore no-control-regex
  if (!/[\x00-\x1f\x7f-\x9f]/.test(word)) return `'${word.replaceAll("'", `'\\''`)}'`;
  const escaped = word.replace(/[\\']/g, "\\$&").replace(
    // deno-lint-ignore no-control-regex
    /[\x00-\x1f\x7f-\x9f]/g,
    (control) =>
      [...new TextEncoder().encode(control)]
        .map((byte) => "\\x" + byte.toString(16).padStart(2, "0")).join(""),
  );
  return `$'${escaped}'`;
}

/** A command line of words. */
export function shellLine(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}
