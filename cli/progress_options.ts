/** How a run is watched. */

import { TRACKERS } from "../train/open_tracker.ts";
import { choice, flag, integer, number, type Option, path, text } from "./option_kinds.ts";
import type { TrainPreset } from "./train_presets.ts";

const LOG = "Progress";

/** The options of log lines, validation, samples and trackers. */
// deno-lint-ignore explicit-module-boundary-types
export function progressOptions(preset: TrainPreset) {
  return {
    log_interval: integer({
      section: LOG,
      help: "Batches between log lines.",
      default: 100,
      min: 1,
    }),
    save_interval: integer({
      section: LOG,
      help: "Batches between saved weights.",
      default: 100,
      min: 1,
    }),
    val_path: path({ section: LOG, help: "Data to validate with, at each saving." }),
    val_ratio: number({
      section: LOG,
      help: "Share of the rows that are held out to validate with, at each saving.",
      default: 0,
      min: 0,
      max: 0.9,
    }),
    sample_every: integer({
      section: LOG,
      help: "Updates between two looks at what the model says; 0 for none.",
      default: 0,
      min: 0,
    }),
    tracker: choice(TRACKERS, {
      section: LOG,
      help: "Where numbers, texts and pictures are sent.",
      default: "none",
    }),
    tracking_uri: text({
      section: LOG,
      help: "Address of MLflow's server.",
      defaultText: "the variable MLFLOW_TRACKING_URI",
      placeholder: "URL",
    }),
    use_wandb: flag({
      section: LOG,
      help: "Write TensorBoard's files, and say how to send them to Weights & Biases or SwanLab.",
    }),
    wandb_project: text({
      section: LOG,
      help: "Project of the trackers.",
      default: preset.project,
      placeholder: "NAME",
    }),
  } satisfies Record<string, Option<unknown>>;
}
