/** How weights are moved: how often, how far, and by which batches. */

import { integer, number, type Option } from "./option_kinds.ts";
import type { TrainPreset } from "./train_presets.ts";

const TRAIN = "Training";

/** The options of batches, learning rates and AdamW. */
// deno-lint-ignore explicit-module-boundary-types
export function optimizerOptions(preset: TrainPreset) {
  return {
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
  } satisfies Record<string, Option<unknown>>;
}
