/** The page that `deno task inspect --html` writes: one file that loads nothing. */

import type { DataReport, Distribution } from "../data/inspect.ts";
import { type InspectedSample, shortened } from "../data/inspect_sample.ts";
import { reportLines } from "./inspect_text.ts";

/** A sample with its pictures as files, in the order of the sample's. */
export interface PageSample {
  /** The sample. */
  readonly sample: InspectedSample;
  /** PNG files. */
  readonly pictures: readonly Uint8Array[];
}

/** Text that HTML takes as text. */
export function escapeHtml(text: string): string {
  const names: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => names[character]!);
}

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
table { border-collapse: collapse } td { padding: .2rem .8rem .2rem 0; vertical-align: top }
td:first-child { color: #666; white-space: nowrap }
.token { padding: 1px 2px; margin: 1px; border-radius: 3px; background: #8881; white-space: pre;
  display: inline-block; font: 13px/1.4 ui-monospace, monospace }
.learnt { background: #2a74 } .skipped { color: #777 }
section { border-top: 1px solid #8884; margin-top: 1.5rem; overflow-wrap: anywhere }
figure { display: inline-block; margin: 0 1rem 1rem 0 } figcaption { font-size: 13px; color: #666 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } }`;

/** The page. */
export function inspectPage(
  path: string,
  report: DataReport,
  maxLength: number,
  samples: readonly PageSample[],
): string {
  const title = escapeHtml(path);
  const row = ([name, text]: readonly [string, string]) =>
    `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(text)}</td></tr>`;
  const list = (heading: string, items: readonly string[], all: number) =>
    items.length === 0
      ? ""
      : `<h2>${heading}: ${all}</h2>\n<ul>${
        items.map((item) => `<li>${escapeHtml(item)}</li>`).join("\n")
      }</ul>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${title}</h1>
<table>
${reportLines(report, maxLength).map(row).join("\n")}
</table>
<h2>Tokens a row</h2>
${histogram(report.tokens, maxLength)}
${list("Rows that cannot be used", report.problems, report.bad)}
${list("Repeated rows", report.duplicateExamples, report.duplicates)}
<h2>Samples as the model gets them</h2>
<p>Green is what it learns to say. Hover for the token's number and what follows it.</p>
${samples.map(sampleSection).join("\n")}
</body>
</html>
`;
}

function histogram({ parts, width }: Distribution, maxLength: number): string {
  const highest = Math.max(...parts, 1), step = 800 / Math.max(parts.length, 1);
  const bars = parts.map((rows, i) => {
    const height = 160 * rows / highest;
    const what = `${i * width} to ${(i + 1) * width - 1} tokens: ${rows} rows`;
    return `<rect x="${i * step + 1}" y="${170 - height}" width="${step - 2}" height="${height}" ` +
      `fill="#27a"><title>${what}</title></rect>` +
      `<text x="${i * step + 1}" y="185" font-size="11" fill="#888">${i * width}</text>`;
  });
  const limit = maxLength / width * step;
  const line = limit > parts.length * step
    ? ""
    : `<line x1="${limit}" x2="${limit}" y1="0" y2="170" stroke="#c33" stroke-dasharray="4"/>`;
  return `<svg viewBox="0 0 800 190" role="img" aria-label="Rows by length">${
    bars.join("")
  }${line}</svg>`;
}

function sampleSection({ sample, pictures }: PageSample): string {
  const figures = sample.pictures.map(({ name, width, height }, i) =>
    `<figure><img src="data:image/png;base64,${pictures[i]!.toBase64()}" alt="">` +
    `<figcaption>${escapeHtml(name)}, ${width}×${height}</figcaption></figure>`
  );
  const tokens = shortened(sample.tokens).map((token) =>
    "skipped" in token
      ? `<span class="token skipped">… ${token.skipped} more</span>`
      : `<span class="token${token.mask ? " learnt" : ""}" title="${token.at}: X ${token.x}, ` +
        `Y ${token.y} ${escapeHtml(token.yText)}, mask ${token.mask}">${
          escapeHtml(token.mask ? token.yText : token.xText)
        }</span>`
  );
  return `<section><h3>${escapeHtml(sample.place)}</h3>\n${figures.join("")}<p>${
    tokens.join("")
  }</p></section>`;
}
