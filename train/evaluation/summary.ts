import { difference, type Interval, interval } from "../../model/metrics/bootstrap.ts";
import type { ItemResult } from "./evaluate.ts";
import { measuresOf, type NamedMeasure } from "./measures.ts";

/** A model that was measured. */
export interface Measured {
  /** The name of its weights. */
  readonly name: string;
  /** What each row showed, the same rows for all models. */
  readonly items: readonly ItemResult[];
}

/** A measure of one model, or of two. */
export interface SummaryRow {
  /** Its name in files. */
  readonly name: string;
  /** What it is, in a few words. */
  readonly title: string;
  /** Whether it is a share, shown in percent. */
  readonly share: boolean;
  /** Rows that it is about. */
  readonly rows: number;
  /** The figure of each model, with its 95% interval. */
  readonly values: readonly Interval[];
  /** The second model's less the first's. */
  readonly difference?: Interval;
}

/** What an evaluation found. */
export interface Summary {
  /** The data. */
  readonly data: string;
  /** Rows that could be used. */
  readonly rows: number;
  /** Why the others could not. */
  readonly skipped: readonly string[];
  /** What it was told. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The models' names. */
  readonly models: readonly string[];
  /** The measures. */
  readonly measures: readonly SummaryRow[];
}

/** The figures of one model or two, each with the interval in which it lies in 95 of 100 samples of rows. */
export function summarize(models: readonly Measured[], seed: number): SummaryRow[] {
  const measures = models.map(({ items }) => measuresOf(items));
  return measures[0]!.flatMap((first): SummaryRow[] => {
    const same = measures.map((of) => of.find(({ name }) => name === first.name));
    const found = same.filter((one): one is NamedMeasure => one !== undefined);
    if (found.length < models.length) return [];
    const { name, title, share = false, rows } = first;
    return [{
      name,
      title,
      share,
      rows,
      values: found.map((one) => interval(one, seed)),
      ...(found[1] && { difference: difference(first, found[1], seed) }),
    }];
  });
}

/** A figure as people read it. */
export function figure(value: number, share: boolean): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text = share
    ? `${(100 * value).toFixed(1)}%`
    : size < 10
    ? value.toFixed(3)
    : size < 1e6
    ? value.toFixed(size < 1000 ? 1 : 0)
    : value.toExponential(2);
  return /^-0\.0+%?$/.test(text) ? text.slice(1) : text;
}

/** A figure and its bounds. */
export function figureWithBounds({ value, low, high }: Interval, share: boolean): string {
  if (!Number.isFinite(value)) return figure(value, share);
  return `${figure(value, share)} (${figure(low, share)} to ${figure(high, share)})`;
}

/** The cells of the table, the first line being its head. */
export function summaryCells({ models, measures }: Summary): string[][] {
  const two = models.length > 1;
  return [
    ["Measure", "Rows", ...models, ...two ? ["Difference"] : []],
    ...measures.map(({ title, share, rows, values, difference }) => [
      title,
      String(rows),
      ...values.map((value) => figureWithBounds(value, share)),
      ...difference
        ? [figureWithBounds(difference, share) + (isClear(difference) ? " *" : "")]
        : [],
    ]),
  ];
}

/** Whether an interval of a difference leaves out 0. */
export function isClear({ low, high }: Interval): boolean {
  return low > 0 || high < 0;
}

/** The summary as a page of Markdown. */
export function summaryMarkdown(summary: Summary): string {
  const { data, rows, skipped, models } = summary;
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  const [head = [], ...body] = summaryCells(summary);
  return [
    `# ${data}`,
    "",
    `${rows} rows, answered greedily${
      skipped.length > 0 ? `; ${skipped.length} could not be used` : ""
    }.`,
    "",
    line(head),
    line(head.map((_, i) => i === 0 ? "---" : "---:")),
    ...body.map(line),
    "",
    "In brackets: the 95% interval of a bootstrap over rows (1000 samples)." +
    (models.length > 1 ? " A star marks differences whose interval leaves out 0." : ""),
    "",
  ].join("\n");
}

/** Everything as JSON, rows included; the same evaluation gives the same bytes. */
export function summaryJson(summary: Summary, models: readonly Measured[]): string {
  const finite = (_: string, value: unknown) =>
    typeof value === "number" && !Number.isFinite(value) ? null : value;
  return JSON.stringify({ ...summary, results: models }, finite, 2) + "\n";
}
