/** `deno task runs`: the runs of a folder and how to continue each. */

import { GlimpseError } from "../kernels/runtime/errors.ts";
import { listRuns, type RunSummary } from "../train/runs.ts";
import { shellLine, shellWord } from "../train/shell_words.ts";
import { flag, path, positional } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";

/** The options of `runs`. */
export const options = {
  root: positional(path({
    help: "Folder laid out as MiniMind-V's, a folder of such folders, or one of checkpoints.",
    default: ".",
  })),
  json: flag({ help: "Print JSON for other programs." }),
};

const COLUMNS = ["RUN", "STATE", "EPOCH", "UPDATE", "LOSS", "CHANGED"];

/** Prints the runs, the last changed first. */
export async function run(args: readonly string[]): Promise<number> {
  const { root, json } = parseOptions(options, args);
  const runs = await listRuns(root).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new GlimpseError(`There is no folder ${root}.`);
  });
  if (json) console.log(JSON.stringify(runs, undefined, 2));
  else if (runs.length === 0) {
    console.log(`No run has left its files in ${root} or its checkpoints.`);
  } else console.log(runsText(runs));
  for (const problem of runs.flatMap(({ problems }) => problems)) {
    console.error(`warning: ${printable(problem)}`);
  }
  return 0;
}

/** The runs as a table, each with the command that continues it below it. */
export function runsText(runs: readonly RunSummary[]): string {
  const rows = runs.map(({ name, state, epoch, updates, loss, changed }) => [
    shellWord(name),
    state,
    String(epoch ?? "-"),
    String(updates ?? "-"),
    loss?.toFixed(4) ?? "-",
    localTime(changed),
  ]);
  const widths = COLUMNS.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => row[i]!.length))
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => i >= 2 && i <= 4 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))
      .join("  ").trimEnd();
  return [line(COLUMNS), ...rows.map((row, i) => `${line(row)}\n${howToContinue(runs[i]!)}`)].join(
    "\n",
  );
}

function howToContinue({ state, continueWith }: RunSummary): string {
  if (state === "finished") return "  nothing is left to do";
  if (continueWith) {
    return `  ${state === "running" ? "if it ended" : "continue"}: ${shellLine(continueWith)}`;
  }
  return "  without a checkpoint that says its command; it begins anew";
}

function localTime(date: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Text without what a terminal would obey. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, "\ufffd");
}
