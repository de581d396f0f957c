import { join } from "@std/path";
import { loadClip, openClipPlan, saveClip } from "../data/clip_files.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { clipTokens } from "../model/clip_config.ts";
import { Random } from "../model/random.ts";
import { clipTrainPolicy, UNDECAYED } from "./freeze.ts";
import { checkClipMemory } from "./memory_estimate.ts";
import { availableMemory, type RunData } from "./open_run.ts";
import type { ProgressReport } from "./progress.ts";
import { retrieval } from "./retrieval.ts";
import type { ContrastiveSettings, RunSettings } from "./settings.ts";
import type { TrainingTask } from "./task.ts";

/** Opens what is trained by telling pairs apart: a vision tower and a text tower. */
export async function openClipTask(
  gpu: Gpu,
  settings: RunSettings & { readonly contrastive: ContrastiveSettings },
  { tokenizer }: RunData,
  precision: Precision,
  report: ProgressReport,
): Promise<TrainingTask> {
  const { folder, contrastive, freezeVision, learningRate, batchSize } = settings;
  const microBatch = Math.min(contrastive.microBatch, batchSize);
  const plan = await openClipPlan(folder.vision, tokenizer.vocabSize, contrastive.sizes);
  const { clip, newVision, newText } = await loadClip(gpu, {
    ...plan,
    weights: settings.fromWeight === "none" ? undefined : folder.vision,
    train: clipTrainPolicy(freezeVision),
    ...{ precision, microBatch },
    random: new Random(settings.seed),
  });
  using opened = new DisposableStack();
  opened.use(clip);
  const available = gpu.info.software ? availableMemory() : undefined;
  const memory = checkClipMemory(clip, microBatch, available);
  const { parameters, config: { vision, text, projection_dim } } = clip;
  const millions = (n: number) => (n / 1e6).toFixed(3);
  report.say(
    `${gpu.info.name}, ${precision}: two towers and their projections of ${
      millions(parameters.count)
    } M parameters; ${millions(parameters.trainedCount)} M train` +
      `${newVision ? ", the vision tower from new" : ""}` +
      `${newText ? ", the text tower from new" : ""}. Memory: ${memory}.`,
  );
  const tokens = clipTokens(tokenizer);
  const weights = (kind = "") => join(folder.out, settings.saveWeight + kind);
  const held = opened.move();
  return {
    model: clip,
    learningRates: { decayed: learningRate, [UNDECAYED]: learningRate },
    undecayed: new Set([UNDECAYED]),
    fixed: {
      vision_hidden_size: vision.hidden_size,
      vision_layers: vision.num_hidden_layers,
      image_size: vision.image_size,
      patch_size: vision.patch_size,
      text_hidden_size: text.hidden_size,
      text_layers: text.num_hidden_layers,
      context_length: text.max_position_embeddings,
      projection_dim,
      ...freezeVision && { freeze_vision: true },
    },
    pictureSize: vision.image_size,
    weights,
    save: (kind) => saveClip(clip, weights(kind), plan.processor.config, tokens),
    features: () => Promise.resolve(undefined),
    flush: () => Promise.resolve(),
    validate: (loader) => retrieval(clip, loader),
    [Symbol.dispose]: () => held.dispose(),
  };
}
