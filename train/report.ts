/** The report of a run: one page that needs nothing beside itself. */

import { clock } from "./progress.ts";
import { type Chart, chartHtml, escaped } from "./report_chart.ts";
import { type Point, shortNumber, smooth } from "./report_series.ts";
import { REPORT_STYLE } from "./report_style.ts";
import { shellLine } from "./shell_words.ts";

/** Numbers by name; `null` stands for one that is not finite, as in a file of JSON Lines. */
export type ReportRow = Readonly<Record<string, number | null | undefined>>;

/** What the model said at some step. */
export interface ReportSample {
  /** Update after which it was asked. */
  readonly step: number;
  /** What it was asked. */
  readonly prompt: string;
  /** What it said. */
  readonly answer: string;
  /** What the data say. */
  readonly expected?: string;
  /** The picture, with its type such as `image/png`. */
  readonly picture?: { readonly bytes: Uint8Array; readonly type: string };
}

/** What a report tells. */
export interface Report {
  /** Name of the run. */
  readonly title: string;
  /** How it ended. */
  readonly state: "finished" | "stopped" | "failed" | "running";
  /** What was typed to start it. */
  readonly command?: readonly string[];
  /** When it was written. */
  readonly date: Date;
  /** Rows of the metrics file, each with its `step`; see {@linkcode StepMetrics}. */
  readonly metrics: readonly ReportRow[];
  /** Rows of `step`, `loss` and, with shuffled pictures, `blind_loss`. */
  readonly validation?: readonly ReportRow[];
  /** What the run was told, by name. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** What it ran on. */
  readonly hardware: Readonly<Record<string, unknown>>;
  /** What it ran with. */
  readonly versions: Readonly<Record<string, unknown>>;
  /** What the model said. */
  readonly samples?: readonly ReportSample[];
  /** What the reader should know: skipped samples, updates left out. */
  readonly notes?: readonly string[];
}

const LARGE: Chart["size"] = [1060, 320];
const SMALL: Chart["size"] = [504, 210];
const FLAT: Chart["size"] = [1060, 210];
const TITLES: Readonly<Record<string, string>> = {
  aux_loss: "Load-balancing loss of the experts",
  loss_scale: "Loss scale",
  memory: "Memory",
};
const DRAWN = new Set("step epoch loss lr grad_norm tokens samples seconds".split(" "));
const PICTURE_TYPES = /^image\/(png|jpeg|webp|gif|bmp)$/;

/**
 * A self-contained page: no script, no request. All text is escaped.
 *
 * @example
 * ```ts
 * const html = reportHtml({
 *   title: "pretrain_vlm_512",
 *   state: "finished",
 *   date: new Date(),
 *   metrics: [{ step: 1, epoch: 1, loss: 8.8, lr: 4e-4, grad_norm: 1.2, tokens: 900, seconds: 1 }],
 *   settings: { batch_size: 16 },
 *   hardware: { adapter: "llvmpipe" },
 *   versions: { glimpse: "0.1.0" },
 * });
 * ```
 */
export function reportHtml(report: Report): string {
  const { title, state, command, date, settings, hardware, versions } = report;
  const notes = [...report.notes ?? [], ...gapNotes(report.metrics)];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<main>
<header>
<div class="title"><h1>${escaped(title)}</h1><span class="badge ${state}">${state}</span></div>
<p class="soft">${escaped(date.toISOString().slice(0, 16).replace("T", " "))} UTC</p>
${command ? `<pre>${escaped(shellLine(command))}</pre>` : ""}
</header>
${tiles(report)}
${
    notes.length > 0
      ? `<ul class="notes">${notes.map((note) => `<li>${escaped(note)}</li>`).join("")}</ul>`
      : ""
  }
${section("Curves", "charts", charts(report).map(chartHtml).join(""))}
${samples(report.samples ?? [])}
${
    section(
      "How it was made",
      "tables",
      table("Settings", settings) +
        `<div class="stack">${table("Hardware", hardware)}${table("Versions", versions)}</div>`,
    )
  }
<footer>Written by Glimpse. The page needs no network and runs no script.</footer>
</main>
</body>
</html>
`;
}

function section(title: string, kind: string, content: string): string {
  return content === "" ? "" : `<h2>${title}</h2><div class="${kind}">${content}</div>`;
}

function column(rows: readonly ReportRow[], name: string): Point[] {
  return rows.flatMap((row): Point[] => {
    const [x, y] = [row.step, row[name]];
    return typeof x === "number" && typeof y === "number" && Number.isFinite(y) ? [[x, y]] : [];
  });
}

const sum = (rows: readonly ReportRow[], name: string) =>
  rows.reduce((total, row) => total + (row[name] ?? 0), 0);

/** Tokens a second at each update. */
function speed(rows: readonly ReportRow[]): Point[] {
  return rows.flatMap(({ step, tokens, seconds }): Point[] =>
    step && tokens && seconds ? [[step, tokens / seconds]] : []
  );
}

function tiles({ metrics, validation = [] }: Report): string {
  const loss = column(metrics, "loss");
  const smoothed = smooth(loss);
  const [first, last] = [loss[0], smoothed.at(-1)];
  const held = column(validation, "loss");
  const best = held.reduce<Point | undefined>((a, b) => a && a[1] <= b[1] ? a : b, undefined);
  const blind = column(validation, "blind_loss").at(-1);
  const [tokens, seconds] = [sum(metrics, "tokens"), sum(metrics, "seconds")];
  const epochs = metrics.at(-1)?.epoch;
  const all: [name: string, value: string, small?: string][] = [];
  if (first && last) all.push(["Loss", shortNumber(last[1]), `from ${shortNumber(first[1])}`]);
  if (best) all.push(["Best validation loss", shortNumber(best[1]), `at update ${best[0]}`]);
  if (blind && held.length > 0) {
    const gap = blind[1] - held.at(-1)![1];
    all.push(["Gain by pictures", shortNumber(gap, 3), `${shortNumber(blind[1])} when shuffled`]);
  }
  const updates = metrics.at(-1)?.step;
  if (updates) all.push(["Updates", shortNumber(updates), epochs ? `epoch ${epochs}` : undefined]);
  if (seconds > 0) all.push(["Time", clock(seconds), "in training steps"]);
  if (tokens > 0) {
    const rate = seconds > 0 ? `${shortNumber(tokens / seconds, 3)} a second` : undefined;
    all.push(["Tokens", shortNumber(tokens, 3), rate]);
  }
  const tile = ([name, value, small]: typeof all[number]) =>
    `<div class="card tile"><dt>${name}</dt><dd>${escaped(value)}${
      small ? `<small>${escaped(small)}</small>` : ""
    }</dd></div>`;
  return all.length === 0 ? "" : `<dl class="tiles">${all.map(tile).join("")}</dl>`;
}

function charts({ metrics, validation = [] }: Report): Chart[] {
  const marks = metrics.flatMap(({ step, epoch }, i) =>
    i > 0 && step && epoch !== metrics[i - 1]!.epoch ? [step] : []
  );
  const held = column(validation, "loss"), blind = column(validation, "blind_loss");
  const one = (title: string, points: readonly Point[], more: Partial<Chart> = {}): Chart => ({
    title,
    curves: [{ name: title.toLowerCase(), points, color: "first", noisy: true }],
    size: SMALL,
    marks,
    ...more,
  });
  const lr = column(metrics, "lr");
  const drawn: Chart[] = [
    {
      title: "Loss",
      ...(marks.length > 0 && { note: "Dotted lines: epochs begin." }),
      curves: [
        { name: "training", points: column(metrics, "loss"), color: "first", noisy: true },
        { name: "validation", points: held, color: "second", dots: true },
      ],
      size: LARGE,
      marks,
    },
    ...(blind.length === 0 ? [] : [
      {
        title: "Does it see?",
        note: "Where shuffled pictures cost more, the model uses the right ones.",
        curves: [
          { name: "validation", points: held, color: "second", dots: true },
          { name: "with shuffled pictures", points: blind, color: "third", dots: true },
        ],
        gap: true,
        size: SMALL,
      } satisfies Chart,
    ]),
    one("Gradient norm", column(metrics, "grad_norm"), { log: true }),
    one("Learning rate", lr, {
      curves: [{ name: "learning rate", points: lr, color: "first" }],
      fromZero: true,
    }),
    one("Tokens a second", speed(metrics), { fromZero: true }),
    ...otherNames(metrics).map((name) => {
      const points = column(metrics, name), noisy = name.endsWith("loss");
      return one(TITLES[name] ?? name, points, {
        curves: [{ name, points, color: "first", noisy }],
      });
    }),
  ];
  const all = drawn.filter(({ curves }) => curves.some(({ points }) => points.length > 0));
  // all but the first stand in pairs
  return all.map((chart, i) =>
    i % 2 === 1 && i === all.length - 1 ? { ...chart, size: FLAT } : chart
  );
}

/** Names of further numbers that change. */
function otherNames(rows: readonly ReportRow[]): string[] {
  const names = new Set(rows.flatMap((row) => Object.keys(row)));
  return [...names].filter((name) => {
    const points = DRAWN.has(name) ? [] : column(rows, name);
    return points.some(([, y]) => y !== points[0]![1]);
  });
}

function gapNotes(rows: readonly ReportRow[]): string[] {
  const said: Record<string, string> = { loss: "loss", grad_norm: "gradient" };
  return Object.entries(said).flatMap(([name, word]) => {
    const count = rows.filter((row) => name in row && !Number.isFinite(row[name] ?? NaN)).length;
    if (count === 0) return [];
    return [`${count === 1 ? "1 update" : `${count} updates`} had no finite ${word}.`];
  });
}

function samples(all: readonly ReportSample[]): string {
  const steps = [...new Set(all.map(({ step }) => step))].sort((a, b) => b - a);
  const cards = (step: number) =>
    `<div class="samples">${
      all.filter((sample) => sample.step === step).map(sampleCard).join("")
    }</div>`;
  const [last, ...earlier] = steps;
  if (last === undefined) return "";
  return `<h2>What it says after ${last} updates</h2>${cards(last)}${
    earlier.map((step) =>
      `<details><summary>After ${step} updates</summary>${cards(step)}</details>`
    )
      .join("")
  }`;
}

function sampleCard({ prompt, answer, expected, picture }: ReportSample): string {
  const image = picture && PICTURE_TYPES.test(picture.type)
    ? `<img alt="" src="data:${picture.type};base64,${picture.bytes.toBase64()}">`
    : "";
  const rows = [["Asked", prompt], ["Said", answer || "(nothing)"], ["Expected", expected]]
    .flatMap(([name, text]) => text ? [`<dt>${name}</dt><dd>${escaped(text)}</dd>`] : []);
  return `<article class="card sample">${image}<dl>${rows.join("")}</dl></article>`;
}

function table(title: string, values: Readonly<Record<string, unknown>>): string {
  const rows = Object.entries(values).map(([name, value]) =>
    `<tr><th scope="row">${escaped(name)}</th><td>${escaped(valueText(value))}</td></tr>`
  );
  if (rows.length === 0) return "";
  return `<section class="card table"><h3>${title}</h3><table>${rows.join("")}</table></section>`;
}

function valueText(value: unknown): string {
  if (value === undefined || value === null) return "–";
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  return JSON.stringify(value) ?? String(value);
}
