/** What an evaluation shows and writes. */

import { join } from "@std/path";
import type { VlmDataset } from "../data/dataset.ts";
import { writeFileAtomic } from "../data/files.ts";
import { encodePng } from "../data/png.ts";
import { bestAndWorst, evaluationPage } from "../train/evaluation/page.ts";
import {
  type Measured,
  type Summary,
  summaryJson,
  summaryMarkdown,
} from "../train/evaluation/summary.ts";
import { STOP_SIGNALS } from "./signals.ts";

/**
 * Writes the results to a folder: `results.json`, `results.md`, `results.html`, and where the questions have numbers what each
 * model said to them, `NAME_answers.json`, as VQA's servers and tools take it.
 */
export async function writeResults(
  folder: string,
  dataset: VlmDataset,
  summary: Summary,
  models: readonly Measured[],
): Promise<void> {
  const page = evaluationPage(summary, models, await shownPictures(dataset, models[0]!));
  const files = new Map([
    ["results.json", summaryJson(summary, models)],
    ["results.md", summaryMarkdown(summary)],
    ["results.html", page],
  ]);
  for (const { name, items } of models) {
    const answers = items.filter(({ id, said }) => id !== undefined && said !== undefined)
      .map(({ id, said }) => ({ question_id: /^\d+$/.test(id!) ? Number(id) : id, answer: said }));
    if (answers.length === 0) continue;
    files.set(`${name.replaceAll(/[\\/:]/g, "_")}_answers.json`, JSON.stringify(answers) + "\n");
  }
  const wait = () => {}; // Ctrl-C comes too late: what is there are all files of one evaluation
  for (const signal of STOP_SIGNALS) Deno.addSignalListener(signal, wait);
  try {
    for (const [name, text] of files) await writeFileAtomic(join(folder, name), text);
  } finally {
    for (const signal of STOP_SIGNALS) Deno.removeSignalListener(signal, wait);
  }
  console.error(`The results are in ${folder}.`);
}

async function shownPictures(
  dataset: VlmDataset,
  { items }: Measured,
): Promise<Map<number, Uint8Array[]>> {
  const { best, worst } = bestAndWorst(items);
  const shown = new Map<number, Uint8Array[]>();
  for (const i of [...best, ...worst]) {
    const { index } = items[i]!;
    const { pictures } = await dataset.sample(index);
    const files = pictures.map((picture) => encodePng(picture, dataset.processor.size));
    shown.set(index, await Promise.all(files));
  }
  return shown;
}

/** Cells as columns. */
export function tableText(cells: readonly (readonly string[])[]): string {
  const widths = cells[0]!.map((_, i) => Math.max(...cells.map((row) => row[i]?.length ?? 0)));
  return cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd())
    .join("\n");
}

/** Tells on standard error how far a model is: a line that changes, or where there is no terminal now and then one. */
export function progress(name: string): (done: number, total: number) => void {
  const terminal = Deno.stderr.isTerminal();
  const began = performance.now();
  let shownAt = began;
  return (done, total) => {
    const now = performance.now();
    if (now - shownAt < (terminal ? 200 : 10_000) && done < total) return;
    shownAt = now;
    const left = done > 0 ? (now - began) / 1000 * (total - done) / done : NaN;
    const line = `${name}: ${done} of ${total} rows` +
      (Number.isFinite(left) && done < total ? `, ${Math.ceil(left)} s left` : "");
    if (!terminal) return done < total && console.error(line);
    const text = done < total ? line : "";
    Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[2K${text}`));
  };
}
