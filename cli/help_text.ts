import type { Option } from "./option_kinds.ts";
import type { OptionTable } from "./options.ts";

/** The widest line of a help text. */
const WIDTH = 100;
/** The column at which explanations start. */
const COLUMN = 30;

/** Text wrapped at spaces, each line after the first indented. */
export function wrap(text: string, width: number, indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

/** A term and its explanation, in two columns. */
export function entry(term: string, explanation: string): string {
  const left = `  ${term}`;
  const start = left.length + 2 > COLUMN ? `${left}\n${" ".repeat(COLUMN)}` : left.padEnd(COLUMN);
  return start + wrap(explanation, WIDTH - COLUMN, COLUMN);
}

/**
 * The text that `--help` shows.
 *
 * @param command What is typed before the options (`deno task pretrain`).
 * @param summary What the command does, in a sentence or two.
 */
export function helpText(command: string, summary: string, table: OptionTable): string {
  const rows = Object.entries(table);
  const places = rows.filter(([, row]) => row.positional);
  const usage = places.map(([name, { default: value }]) =>
    value === undefined ? ` ${name.toUpperCase()}` : ` [${name.toUpperCase()}]`
  );
  const sections = Map.groupBy(rows.filter(([, row]) => !row.positional), ([, row]) => row.section);
  return [
    `Usage: ${command}${usage.join("")} [options]\n\n${wrap(summary, WIDTH, 0)}\n`,
    ...(places.length === 0 ? [] : [block("Arguments", places)]),
    ...sections.entries().map(([title, rows]) => block(title, rows)),
    entry("--help", "Show this text."),
  ].join("\n");
}

function block(title: string, rows: readonly [string, Option<unknown>][]): string {
  const lines = rows.map(([name, row]) => {
    const flag = `--${name}${row.placeholder && ` ${row.placeholder}`}`;
    const term = row.positional ? name.toUpperCase() : flag;
    return entry(term, row.defaultText ? `${row.help} (default: ${row.defaultText})` : row.help);
  });
  return `${title}\n${lines.join("\n")}\n`;
}
