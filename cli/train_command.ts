/** What the commands that train have in common. */

import { requireRoot } from "../data/model_folder.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { openCommunicator, startedByMpi } from "../train/mpi.ts";
import { ProgressReport } from "../train/progress.ts";
import { runTraining } from "../train/run.ts";
import { offers } from "./clip_options.ts";
import { type OptionTable, parseOptions } from "./options.ts";
import { onRanks } from "./on_ranks.ts";
import type { Command } from "./program.ts";
import { STOP_SIGNALS } from "./signals.ts";
import { trainOptions } from "./train_options.ts";
import type { TrainPreset } from "./train_presets.ts";
import { trainSettings } from "./train_settings.ts";

/** A command that trains with a preset until its end, or until Ctrl-C. */
export function trainCommand(preset: TrainPreset): Command {
  const all = trainOptions(preset);
  const offered = Object.entries(all).filter(([name]) => offers(preset, name));
  const options: OptionTable = Object.fromEntries(offered);
  const run = async (args: readonly string[]): Promise<number> => {
    const values = { ...parseOptions(all, []), ...parseOptions(options, args) };
    const settings = trainSettings(preset, values, [preset.command, ...args]);
    await requireRoot(values.root);
    if (preset.model === "clip" && startedByMpi()) {
      throw new UsageError(
        "pretrain-clip runs in one process; a large --batch_size needs no more memory than --micro_batch_size.",
      );
    }
    const ranks = openCommunicator(values.timeout);
    const encoder = new TextEncoder();
    const print = (text: string) => void Deno.stdout.writeSync(encoder.encode(text));
    // mpirun gives its processes a terminal and passes on what they write there
    const terminal = Deno.stdout.isTerminal() && ranks.size === 1;
    const report = new ProgressReport(
      terminal,
      settings.logInterval,
      print,
      ranks.rank,
    );
    const stop = new AbortController();
    const interrupt = () => {
      if (stop.signal.aborted) Deno.exit(130);
      report.say("Stopping after this step; press Ctrl-C again to leave at once.");
      stop.abort();
    };
    // mpirun passes SIGUSR2 on; after SIGTERM it kills soon
    const signals = [...STOP_SIGNALS, ...startedByMpi() ? ["SIGUSR2"] as const : []];
    for (const signal of signals) Deno.addSignalListener(signal, interrupt);
    try {
      const { updates, saved, report: page, interrupted } = await onRanks(
        ranks,
        () => runTraining(settings, report, stop.signal, ranks),
      );
      report.say(`${updates} updates; weights in ${saved}, a report in ${page}.`);
      if (interrupted) report.say("Type the same with --from_resume 1 to go on.");
      return interrupted ? 130 : 0;
    } finally {
      for (const signal of signals) Deno.removeSignalListener(signal, interrupt);
    }
  };
  return { options, run };
}
