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
  /** What was typed. */
  readonly commands: readonly string[];
}

const STYLE = `
.shown { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
.shown figure { display: flex; flex-direction: row; justify-content: start; gap: .8rem; padding: 0; }
.shown figcaption { display: block; margin: 0; }
.shown img { width: 96px; height: 96px; image-rendering: pixelated; border-radius: 4px; }
.right { color: #18864b; } .wrong { color: #c0392b; }
table { width: auto; } td, th { padding: .2rem 2rem .2rem 0; text-align: left; white-space: nowrap; width: auto !important; }
pre { white-space: pre-wrap; }`;

/** Writes the page; it loads nothing and has no script. */
export function demoPage({ accuracies, shown, curves, commands }: DemoResult): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const rows = accuracies.map(({ kind, questions, seeing, blind }) =>
    `<tr><td>${kind}</td><td>${percent(seeing)}</td><td>${percent(blind)}</td>` +
    `<td>${questions}</td></tr>`
  );
  const figures = shown.map(({ picture, question, answer, expected }) => {
    const right = answer === expected;
    const truth = right ? "" : `<br>(${escaped(expected)})`;
    return `<figure><img alt="" src="data:image/png;base64,${picture.toBase64()}">
<figcaption>${escaped(question)}<br><b class="${right ? "right" : "wrong"}">${
      escaped(answer)
    }</b>${truth}</figcaption></figure>`;
  });
  const charts = curves.map(({ name, rows }) => {
    const points = rows.map(({ step, loss }) => [Number(step), Number(loss)] as const);
    return chartHtml({
      title: name,
      note: "Loss by update.",
      curves: [{ name: "loss", points, color: "first", noisy: true }],
      size: [560, 220],
      log: true,
    });
  });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Glimpse: a model that has learnt to see</title>
<style>${REPORT_STYLE}${STYLE}</style></head>
<body><main>
<h1>A model that has learnt to see</h1>
<p>All pictures and questions here show combinations of colour, kind and size that it never trained
with. An answer counts as right if it is exactly the expected one. The blind column is the same
model with the pictures exchanged: what guessing brings.</p>
<table><tr><th>question</th><th>right</th><th>blind</th><th>asked</th></tr>
${rows.join("\n")}</table>
<h2>Pictures it never saw</h2>
<div class="shown">${figures.join("\n")}</div>
<h2>How it learnt</h2>
<div class="charts">${charts.join("\n")}</div>
<h2>What was typed</h2>
<pre>${commands.map(escaped).join("\n\n")}</pre>
</main></body></html>
`;
}
