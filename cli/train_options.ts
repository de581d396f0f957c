/** The options of the commands that train. */

import { DEFAULT_PRECISION } from "../train/precision.ts";
import { TRACKERS } from "../train/tracker.ts";
import {
  choice,
  flag,
  integer,
  number,
  type Option,
  path,
  text,
  zeroOrOne,
} from "./option_kinds.ts";
import type { OptionValues } from "./options.ts";
import { clipOptions } from "./clip_options.ts";
import type { TrainPreset } from "./train_presets.ts";

/** What the rows of a command's data are. */
const DATA: Readonly<Record<TrainPreset["model"], string>> = {
  vlm: "Conversations about pictures",
  llm: "Texts or conversations",
  clip: "Pictures with captions",
};

/** The table of options of a preset. */
// deno-lint-ignore explicit-module-boundary-types
export function trainOptions(preset: TrainPreset) {
  const FILES = "Files";
  const MODEL = "Model";
  const TRAIN = "Training";
  const RANKS = "Several processes, under mpirun";
  const LOG = "Progress";
  return {
    root: path({
      section: FILES,
      help: "Folder laid out as MiniMind-V's: out, model, dataset, checkpoints.",
      default: ".",
    }),
    data_path: path({
      section: FILES,
      help: `${DATA[preset.model]}: .jsonl, .json (LLaVA), .csv, .tsv or .parquet.`,
      defaultText: `dataset/${preset.data}_data.jsonl`,
    }),
    images_path: path({
      section: FILES,
      help: "Folder of the pictures that they name, or a zip archive.",
      defaultText: `dataset/${preset.data}_images`,
    }),
    save_dir: path({ section: FILES, help: "Folder of the weights.", defaultText: "out" }),
    tokenizer_path: path({
      section: FILES,
      help: "Folder of the tokenizer.",
      defaultText: "model",
    }),
    vision_path: path({
      section: FILES,
      help: preset.model === "clip"
        ? "Folder of a CLIP to begin with: its sizes and, where it has some, its weights."
        : "Folder of the CLIP vision tower.",
      defaultText: "model/vision_model/clip-vit-base-patch16",
    }),
    checkpoints_path: path({
      section: FILES,
      help: "Folder of metrics and checkpoints.",
      defaultText: "checkpoints",
    }),
    save_weight: text({
      section: FILES,
      help: preset.model === "clip"
        ? "Name of the folder that is saved."
        : "Name of the weights that are saved; size and ending are added.",
      default: preset.saveWeight,
      placeholder: "NAME",
    }),
    from_weight: text({
      section: FILES,
      help: preset.model === "clip"
        ? "vision for the weights of the vision folder, where it has some; none for new ones."
        : "Name of the weights to begin with; none for new ones.",
      default: preset.fromWeight,
      placeholder: "NAME",
    }),
    metrics: path({
      section: FILES,
      help: "Metrics file, one JSON line an update.",
      defaultText: `checkpoints/{weight}${
        preset.model === "clip" ? "" : "_{hidden}"
      }_metrics.jsonl`,
    }),
    hidden_size: integer({
      section: MODEL,
      help: "Width of the language model.",
      default: 512,
      min: 1,
    }),
    num_hidden_layers: integer({
      section: MODEL,
      help: "Layers of the language model.",
      defaultText: "read from the weights; 8 for new ones",
      min: 1,
    }),
    use_moe: zeroOrOne({
      section: MODEL,
      help: "Whether it is a mixture of experts.",
      default: false,
    }),
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
    epochs: integer({
      section: TRAIN,
      help: "Passes over the data.",
      default: preset.epochs,
      min: 1,
    }),
    batch_size: integer({
      section: TRAIN,
      help: preset.model === "clip"
        ? "Pairs a batch, of which each picture is told apart from all other texts."
        : "Samples a batch, of each process where mpirun starts several.",
      default: preset.batchSize,
      min: 1,
    }),
    learning_rate: number({
      section: TRAIN,
      help: "Learning rate, of which a cosine is made.",
      default: preset.learningRate,
      min: 0,
    }),
    projector_learning_rate: number({
      section: TRAIN,
      help: "Learning rate of the projection.",
      defaultText: "the learning rate",
      min: 0,
    }),
    vision_learning_rate: number({
      section: TRAIN,
      help: "Learning rate of the vision tower, where it trains.",
      defaultText: "the learning rate",
      min: 0,
    }),
    warmup_steps: integer({
      section: TRAIN,
      help: "Batches over which the learning rate rises from 0.",
      default: preset.warmupSteps,
      min: 0,
    }),
    adam_beta1: number({
      section: TRAIN,
      help: "AdamW's β₁.",
      default: preset.adamw.beta1,
      min: 0,
      max: 0.9999999,
    }),
    adam_beta2: number({
      section: TRAIN,
      help: "AdamW's β₂.",
      default: preset.adamw.beta2,
      min: 0,
      max: 0.9999999,
    }),
    adam_eps: number({
      section: TRAIN,
      help: "AdamW's ε.",
      default: preset.adamw.eps,
      min: 0,
      aboveMin: true,
    }),
    weight_decay: number({
      section: TRAIN,
      help: "AdamW's decay of weights.",
      default: preset.adamw.weightDecay,
      min: 0,
    }),
    accumulation_steps: integer({
      section: TRAIN,
      help: "Batches whose gradients are averaged for one update.",
      default: preset.accumulationSteps,
      min: 1,
    }),
    grad_clip: number({
      section: TRAIN,
      help: "Longest gradient; longer ones are scaled down.",
      default: 1,
      min: 0,
      aboveMin: true,
    }),
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

/** What those options read. */
export type TrainValues = OptionValues<ReturnType<typeof trainOptions>>;
