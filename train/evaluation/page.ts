import { escaped } from "../report_chart.ts";
import { REPORT_STYLE } from "../report_style.ts";
import type { ItemResult } from "./evaluate.ts";
import { rightChoice } from "./measures.ts";
import { type Measured, type Summary, summaryCells } from "./summary.ts";
import { captionTokens } from "../../model/metrics/caption_tokens.ts";
import { rougeL } from "../../model/metrics/rouge_l.ts";

const STYLE = `
.scores { overflow-x: auto; }
.scores td, .scores th { padding-right: 18px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.scores th { width: auto; }
.scores thead th { font-weight: 600; border-top: 0; }
.scores small { color: var(--soft); font-size: inherit; }
.right { color: var(--good); }
.wrong { color: var(--bad); }
`;

/** Rows that the page shows of either kind. */
const SHOWN = 12;

/** The rows that went best and worst with the first model, as numbers of `items`. */
export function bestAndWorst(items: readonly ItemResult[]): { best: number[]; worst: number[] } {
  const order = items.map((item, i): [number, number, number] => [...quality(item), i])
    .sort((a, b) => b[0] - a[0] || b[1] - a[1] || a[2] - b[2]).map(([, , i]) => i);
  const count = Math.min(SHOWN, Math.ceil(order.length / 2));
  return {
    best: order.slice(0, count),
    worst: order.slice(Math.max(count, order.length - SHOWN)).reverse(),
  };
}

/** How well a row went: by how the answer fits, and where that is equal by its loss. */
function quality(item: ItemResult): [number, number] {
  const loss = -item.loss.sum / item.loss.tokens;
  if (item.choices) {
    const right = item.choices[rightChoice(item)] ?? -Infinity;
    const others = Object.entries(item.choices).filter(([choice]) => choice !== rightChoice(item));
    return [right - Math.max(...others.map(([, likelihood]) => likelihood)), loss];
  }
  if (item.said === undefined) return [0, loss];
  return [rougeL(captionTokens(item.said), item.answers.map(captionTokens)), loss];
}

/**
 * The results as a page: no script, no request, all text escaped.
 *
 * @param pictures PNG files of the rows that are shown, by row.
 */
export function evaluationPage(
  summary: Summary,
  models: readonly Measured[],
  pictures: ReadonlyMap<number, readonly Uint8Array[]>,
): string {
  const { data, rows, skipped } = summary;
  const [head = [], ...body] = summaryCells(summary);
  const cells = (of: readonly string[], tag: string) =>
    `<tr>${of.map((cell) => `<${tag}>${bounded(escaped(cell))}</${tag}>`).join("")}</tr>`;
  const { best, worst } = bestAndWorst(models[0]!.items);
  const cards = (title: string, shown: readonly number[]) =>
    shown.length === 0
      ? ""
      : `<h2>${title}</h2><div class="samples">${
        shown.map((i) => card(models, i, pictures)).join("\n")
      }</div>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(data)}</title>
<style>${REPORT_STYLE}${STYLE}</style>
</head>
<body>
<main>
<header><h1>${escaped(data)}</h1>
<p class="soft">${rows} rows, answered greedily. In brackets: the 95% interval of a bootstrap over rows.${
    models.length > 1 ? " A star marks differences whose interval leaves out 0." : ""
  }</p></header>
${
    skipped.length === 0
      ? ""
      : `<ul class="notes">${
        skipped.slice(0, 20).map((why) => `<li>${escaped(why)}</li>`).join("")
      }${skipped.length > 20 ? `<li>and ${skipped.length - 20} more</li>` : ""}</ul>`
  }
<section class="card table scores"><table><thead>${cells(head, "th")}</thead><tbody>
${body.map((row) => cells(row, "td")).join("\n")}
</tbody></table></section>
${cards("Best", best)}
${cards("Worst", worst)}
<footer>Written by Glimpse. The page needs no network and runs no script.</footer>
</main>
</body>
</html>
`;
}

/** A figure's bounds in a weaker colour. */
function bounded(cell: string): string {
  return cell.replace(/ (\(.* to .*\))/, " <small>$1</small>");
}

function card(
  models: readonly Measured[],
  at: number,
  pictures: ReadonlyMap<number, readonly Uint8Array[]>,
): string {
  const { index, question, answers, category } = models[0]!.items[at]!;
  const images = (pictures.get(index) ?? [])
    .map((png) => `<img alt="" src="data:image/png;base64,${png.toBase64()}">`).join("");
  const lines = [
    ["Asked", question.replaceAll("<image>", "").replace(/\s*\n\s*/g, "\n").trim()],
    ["Right", answers.slice(0, 5).join("\n")],
    ...category === undefined ? [] : [["Kind", category]],
  ].map(([name, text]) => `<dt>${name}</dt><dd>${escaped(text ?? "")}</dd>`);
  const said = models.map(({ name, items }) => {
    const item = items[at]!;
    const loss = item.loss.sum / item.loss.tokens;
    const mark = item.choices ? item.said === rightChoice(item) ? "right" : "wrong" : "";
    const text = item.said === undefined ? "" : item.said || "(nothing)";
    return `<dt>${escaped(models.length > 1 ? name : "Said")}, loss ${loss.toFixed(3)}</dt>` +
      `<dd class="${mark}">${escaped(text)}</dd>`;
  });
  return `<article class="card sample">${images}<dl>${lines.join("")}${
    said.join("")
  }</dl></article>`;
}
