/** What `deno task inspect` prints. */

import type { DataReport, Distribution } from "../data/inspect.ts";
import { type InspectedSample, shortened } from "../data/inspect_sample.ts";
import { printable } from "./keys.ts";
import { columns } from "./line_editor.ts";

/** A share in percent. */
export function percent(part: number, whole = 1): string {
  return whole === 0 ? "0%" : `${(100 * part / whole).toFixed(1)}%`;
}

/** The report's numbers by their names. */
export function reportLines(report: DataReport, maxLength: number): readonly [string, string][] {
  const { seen, tokens, turns, widths, heights } = report;
  const usable = tokens.count;
  const perRow = [...report.picturesPerRow].map(([n, rows]) => `${n} in ${rows} rows`).join(", ");
  const spread = ({ least, median, mean, p90, p99, greatest }: Distribution) =>
    `least ${least}, median ${median}, mean ${mean.toFixed(1)}, 90% ≤ ${p90}, 99% ≤ ${p99}, ` +
    `greatest ${greatest}`;
  return [
    ["rows", seen === report.rows ? `${seen}` : `${report.rows}, of which ${seen} were looked at`],
    ["cannot be used", `${report.bad} (${percent(report.bad, seen)})`],
    ["tokens", spread(tokens)],
    ["to be learnt", `${percent(report.answerShare)} of the tokens`],
    [
      `longer than ${maxLength}`,
      `${report.truncated} rows (${percent(report.truncated, usable)}), ` +
      `which loses ${percent(report.lostShare)} of what is to be learnt`,
    ],
    ["nothing to learn", `${report.withoutAnswer} rows`],
    ["turns", spread(turns)],
    ["pictures a row", perRow || "none"],
    ...(report.pictures > 0
      ? [["widths", spread(widths)], ["heights", spread(heights)]] as [string, string][]
      : []),
    ["shared pictures", `${report.sharedPictures} are named by several rows`],
    ["repeated rows", `${report.duplicates} (${percent(report.duplicates, usable)})`],
  ];
}

/** The report as text. */
export function reportText(path: string, report: DataReport, maxLength: number): string {
  const lines = reportLines(report, maxLength).map(([name, text]) => `  ${name.padEnd(20)}${text}`);
  const list = (title: string, items: readonly string[], all: number) => {
    if (items.length === 0) return [];
    const more = all > items.length ? [`  … and ${all - items.length} more`] : [];
    return [`\n${title}`, ...items.map((item) => `  ${printable(item)}`), ...more];
  };
  return [
    path,
    ...lines,
    "\nTokens a row",
    ...histogramLines(report.tokens),
    ...list("Rows that cannot be used", report.problems, report.bad),
    ...list("Repeated rows", report.duplicateExamples, report.duplicates),
  ].join("\n");
}

function histogramLines({ parts, width, count }: Distribution): string[] {
  const highest = Math.max(...parts, 1);
  const first = Math.max(0, parts.findIndex((rows) => rows > 0));
  return parts.slice(first).map((rows, at) => {
    const i = first + at;
    const range = `${i * width}–${(i + 1) * width - 1}`;
    const bar = "█".repeat(Math.ceil(40 * rows / highest));
    return `  ${range.padStart(13)} ${bar.padEnd(40)} ${rows} (${percent(rows, count)})`;
  });
}

/** A sample as text, with small pictures where colours can be shown. */
export function sampleText(sample: InspectedSample, colours: boolean): string {
  const pictures = sample.pictures.map(({ name, width, height, pixels }) =>
    `${printable(name)} (${width}×${height})${colours ? `\n${blocks(pixels)}` : ""}`
  );
  const rows = shortened(sample.tokens).map((token) =>
    "skipped" in token
      ? `  ${"…".padStart(5)}  ${token.skipped} more`
      : `  ${String(token.at).padStart(5)}  ${cell(token.x, token.xText)}  ` +
        `${cell(token.y, token.yText)}  ${token.mask}`
  );
  return [
    sample.place,
    ...pictures,
    `\n${
      printable(sample.text).replace(/(.)\1{15,}/gu, (run, one) => `${one}×${[...run].length}`)
    }\n`,
    `  ${"place".padStart(5)}  ${"X".padEnd(28)}  ${"Y".padEnd(28)}  mask`,
    ...rows,
  ].join("\n");
}

function cell(id: number, text: string): string {
  const shown = `${String(id).padStart(6)} ${text}`;
  return shown + " ".repeat(Math.max(0, 28 - columns(shown)));
}

/** A picture as half blocks in true colour, 32 wide and 16 high. */
function blocks(pixels: Uint8Array): string {
  const size = Math.sqrt(pixels.length / 3), cells = 32;
  const colour = (x: number, y: number) => {
    const at = Math.floor((y + 0.5) * size / cells) * size + Math.floor((x + 0.5) * size / cells);
    return [0, 1, 2].map((channel) => pixels[channel * size * size + at]).join(";");
  };
  const line = (y: number) =>
    Array.from(
      { length: cells },
      (_, x) => `\x1b[38;2;${colour(x, y)}m\x1b[48;2;${colour(x, y + 1)}m▀`,
    ).join("");
  return Array.from({ length: cells / 2 }, (_, y) => `${line(2 * y)}\x1b[0m`).join("\n");
}
