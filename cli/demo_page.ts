/** The page that the demo ends with. */

import { chartHtml, escaped } from "../train/report_chart.ts";
import type { ReportRow } from "../train/report.ts";
import { REPORT_STYLE } from "../train/report_style.ts";

/** How a kind of question was answered, as shares of 1. */
export interface Accuracy {
  /** What was asked for. */
  readonly kind: string;
  /** Number of questions. */
  readonly questions: number;
  /** Exactly right with its own picture. */
  readonly seeing: number;
  /** Exactly right with another one. */
  readonly blind: number;
}

/** An answer with what it is about. */
export interface ShownAnswer {
  /** What was asked for. */
  readonly kind: string;
  /** The picture as a PNG file. */
  readonly picture: Uint8Array<ArrayBuffer>;
  /** The question. */
  readonly question: string;
  /** What the model said. */
  readonly answer: string;
  /** The truth. */
  readonly expected: string;
}

/** What the page tells of. */
export interface DemoResult {
  /** By kind of question. */
  readonly accuracies: readonly Accuracy[];
  /** Some pictures. */
  readonly shown: readonly ShownAnswer[];
  /** The losses of each step that trained. */
  readonly curves: readonly { readonly name: string; readonly rows: readonly ReportRow[] }[];
  /** What was typed, and the seconds that it took. */
  readonly commands: readonly { readonly typed: string; readonly seconds: number | undefined }[];
  /** Parameters of the model. */
  readonly parameters: number;
  /** Device on which it was trained and asked. */
  readonly device: string;
  /** What to type next. */
  readonly next: string;
}

const STYLE = /* css */ `
.lead { max-width: 46em; margin-top: 10px; color: var(--soft); }
.bars { display: grid; gap: 12px; padding: 18px; }
.bar { display: grid; grid-template-columns: 6em 1fr 10em; gap: 14px; align-items: center; }
.bar .track { position: relative; height: 14px; border-radius: 7px; background: var(--faint); overflow: hidden; }
.bar .track i { position: absolute; inset: 0 auto 0 0; border-radius: 7px; background: var(--first); }
.bar .track i + i { background: var(--second); opacity: .85; top: 9px; }
.bar .values { text-align: right; white-space: nowrap; }
.bar .values small { color: var(--soft); font-size: 12.5px; }
.key { padding: 0 18px 16px; }
.legend .bad::before { background: var(--second); }
.shown { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 14px; }
.shown figure { flex-direction: row; justify-content: start; align-items: center; gap: 16px; padding: 12px; }
.shown img { flex: none; width: 96px; height: 96px; image-rendering: pixelated; border-radius: 8px; outline: 1px solid var(--faint); }
.shown figcaption { display: block; margin: 0; min-width: 0; overflow-wrap: anywhere; line-height: 1.4; }
.shown .q { font-size: 13px; color: var(--soft); }
.shown b { display: block; margin-top: 4px; font-weight: 600; }
.shown b::before { content: "✓"; margin-right: .4em; color: var(--good); }
.shown b.wrong::before { content: "✗"; color: var(--bad); }
.shown .truth { font-size: 13px; color: var(--bad); }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.charts > figure:nth-child(n) { grid-column: auto; }
.typed { display: grid; gap: 12px; }
.typed pre { margin: 0; }
.typed time { float: right; margin-left: 16px; color: var(--soft); }
@media (max-width: 760px) {
  .bar { grid-template-columns: 4.6em 1fr; gap: 2px 10px; }
  .bar .values { grid-column: 2; text-align: left; }
}`;

/** Writes the page; it loads nothing and has no script. */
export function demoPage(result: DemoResult): string {
  const { accuracies, shown, curves, commands, parameters, device, next } = result;
  const mean = (of: "seeing" | "blind") =>
    accuracies.reduce((sum, accuracy) => sum + accuracy[of], 0) / accuracies.length;
  const trained = commands.reduce((sum, { seconds = 0 }) => sum + seconds, 0);
  const tiles = [
    ["Right", percent(mean("seeing")), "mean of all kinds of questions"],
    ["Blind", percent(mean("blind")), "the same, shown another picture"],
    ["Parameters", parameters.toLocaleString("en"), "with the vision tower, all from new"],
    ["Trained in", minutes(trained), escaped(device)],
  ].map(([name, value, note]) =>
    `<div class="card tile"><dt>${name}</dt><dd>${value}<small>${note}</small></dd></div>`
  );
  const charts = curves.map(({ name, rows }) =>
    chartHtml({
      title: name,
      note: "Loss by update.",
      curves: [{
        name: "loss",
        points: rows.map(({ step, loss }) => [Number(step), Number(loss)] as const),
        color: "first",
        noisy: true,
      }],
      size: [360, 220],
      log: true,
    })
  );
  const typed = commands.map(({ typed, seconds }) => {
    const time = seconds === undefined ? "" : `<time>${minutes(seconds)}</time>`;
    return `<pre>${time}${escaped(typed)}</pre>`;
  });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Glimpse: a model that has learnt to see</title>
<style>${REPORT_STYLE}${STYLE}</style></head>
<body><main>
<header><h1>A model that has learnt to see</h1>
<p class="lead">Everything it is asked here is about combinations of colour, kind and size that it never
trained with. An answer counts as right if it is exactly the expected one. Blind is the same model with the
pictures exchanged: what guessing brings.</p></header>
<dl class="tiles">${tiles.join("\n")}</dl>
<h2>What it can answer</h2>
<div class="card"><div class="bars">${accuracies.map(bar).join("\n")}</div>
<ul class="legend key"><li class="first">right</li><li class="bad">right when blind</li></ul></div>
<h2>Pictures that it never saw</h2>
<div class="shown">${shown.map(figure).join("\n")}</div>
<h2>How it learnt</h2>
<div class="charts">${charts.join("\n")}</div>
<h2>What was typed</h2>
<div class="typed">${typed.join("\n")}</div>
<h2>What to type next</h2>
<pre>${escaped(next)}</pre>
</main></body></html>
`;
}

function bar({ kind, questions, seeing, blind }: Accuracy): string {
  const width = (share: number) => `style="width:${(100 * share).toFixed(1)}%"`;
  return `<div class="bar" title="${questions} questions"><span>${escaped(kind)}</span>` +
    `<span class="track"><i ${width(seeing)}></i><i ${width(blind)}></i></span>` +
    `<span class="values">${percent(seeing)} <small>blind ${percent(blind)}</small></span></div>`;
}

function figure({ picture, question, answer, expected }: ShownAnswer): string {
  const right = answer === expected;
  const truth = right ? "" : `<span class="truth">expected: ${escaped(expected)}</span>`;
  return `<figure class="card"><img alt="" src="data:image/png;base64,${picture.toBase64()}">
<figcaption><span class="q">${escaped(question)}</span><b${right ? "" : ' class="wrong"'}>${
    escaped(answer)
  }</b>${truth}</figcaption></figure>`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function minutes(seconds: number): string {
  return seconds < 100 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(1)} min`;
}
