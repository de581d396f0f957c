/** The options of the commands that train. */

import { DEFAULT_PRECISION } from "../train/precision.ts";
import { clipOptions } from "./clip_options.ts";
import { modelOptions } from "./model_options.ts";
import { optimizerOptions } from "./optimizer_options.ts";
import { choice, flag, integer, number, type Option, text, zeroOrOne } from "./option_kinds.ts";
import type { OptionValues } from "./options.ts";
import { progressOptions } from "./progress_options.ts";
import { fileOptions } from "./train_file_options.ts";
import type { TrainPreset } from "./train_presets.ts";

const MODEL = "Model";
const TRAIN = "Training";
const RANKS = "Several processes, under mpirun";

/** The table of options of a preset. */
// deno-lint-ignore explicit-module-boundary-types
export function trainOptions(preset: TrainPreset) {
  return {
    ...fileOptions(preset),
    hidden_size: modelOptions.hidden_size,
    num_hidden_layers: integer({
      section: MODEL,
      help: "Layers of the language model.",
      defaultText: "read from the weights; 8 for new ones",
      min: 1,
    }),
    use_moe: modelOptions.use_moe,
    max_seq_len: integer({
      section: MODEL,
      help: "Tokens after which a sample is cut off.",
      default: preset.maxSeqLen,
      min: 2,
    }),
    freeze_llm: choice(["0", "1", "2"], {
      section: MODEL,
      help:
        "What is frozen beside the vision tower: 0 nothing, 1 the language model, 2 all of it but its first " +
        "and last layer.",
      default: String(preset.freeze) as "0" | "1" | "2",
    }),
    freeze_vision: zeroOrOne({
      section: MODEL,
      help: preset.model === "clip"
        ? "Whether the vision tower is frozen, and only the text tower learns to fit it."
        : "Whether the vision tower is frozen; 0 trains it too, from new where its folder has no weights, and saves " +
          "it with the model.",
      default: preset.freezeVision,
    }),
    ...clipOptions(preset),
    device: text({
      section: TRAIN,
      help: "Adapter: gpu, software, or a piece of its name.",
      default: "gpu",
      placeholder: "NAME",
    }),
    dtype: choice(["float32", "float16", "bfloat16"], {
      section: TRAIN,
      help: "Numbers that matrix products multiply; sums, norms and weights stay float32.",
      defaultText: DEFAULT_PRECISION,
    }),
    ...optimizerOptions(preset),
    max_steps: integer({ section: TRAIN, help: "Updates after which to end early.", min: 1 }),
    seed: integer({ section: TRAIN, help: "Seed of orders and new weights.", default: 42, min: 0 }),
    shuffle: zeroOrOne({
      section: TRAIN,
      help: "Whether epochs shuffle the samples.",
      default: true,
    }),
    group_window: integer({
      section: TRAIN,
      help:
        "Batches within which rows of like length meet, so that the processes under mpirun wait less for each other; " +
        "0 for none, as in the original. One process gains nothing by it, since nothing is padded.",
      default: 0,
      min: 0,
    }),
    num_workers: integer({
      section: TRAIN,
      help: "Workers that prepare batches; 0 prepares them between steps.",
      default: 2,
      min: 0,
      max: 64,
    }),
    on_bad_sample: choice(["stop", "skip"], {
      section: TRAIN,
      help: "What to do at a row that cannot be used.",
      default: "stop",
    }),
    feature_cache: text({
      section: TRAIN,
      help:
        "Keep the features of pictures for later epochs: auto, off, or a folder for what memory does not hold. " +
        "There, and where the budget asks for it, they are rounded to half precision.",
      default: "auto",
      placeholder: "auto|off|DIR",
    }),
    feature_cache_budget: integer({
      section: TRAIN,
      help: "Bytes of memory for them.",
      default: 2 ** 31,
      min: 0,
    }),
    checkpoint_activations: zeroOrOne({
      section: TRAIN,
      help:
        "Whether each block is computed again for the backward pass rather than kept: less memory, more time, the " +
        "same numbers.",
      default: false,
    }),
    compat: flag({
      section: TRAIN,
      help:
        "Count accumulation as the original does, its tail left over, and balance experts over padding as well.",
    }),
    from_resume: zeroOrOne({
      section: TRAIN,
      help: "Whether to continue from the last checkpoint, if there is one.",
      default: false,
    }),
    keep: integer({ section: TRAIN, help: "Checkpoints that are kept.", default: 1, min: 1 }),
    max_bad_steps: integer({
      section: TRAIN,
      help: "Updates without a finite gradient in a row after which to end.",
      default: 10,
      min: 1,
    }),
    allreduce_dtype: choice(["float32", "float16"], {
      section: RANKS,
      help: "Numbers in which gradients are sent.",
      default: "float32",
    }),
    local_steps: integer({
      section: RANKS,
      help:
        "Updates that each process makes by itself before weights are averaged; 1 adds up the gradients of each.",
      default: 1,
      min: 1,
    }),
    shard_optimizer: zeroOrOne({
      section: RANKS,
      help: "Whether each process keeps only its part of the optimizer's state.",
      default: false,
    }),
    timeout: number({
      section: RANKS,
      help: "Seconds that a process waits for the others before all end.",
      default: 1800,
      min: 1,
    }),
    ...progressOptions(preset),
  } satisfies Record<string, Option<unknown>>;
}

/** What those options read. */
export type TrainValues = OptionValues<ReturnType<typeof trainOptions>>;
