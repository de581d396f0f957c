/** How the options of the commands that train become a run's settings. */

import { join } from "@std/path";
import { modelFolder } from "../data/model_folder.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import type { RunSettings } from "../train/settings.ts";
import { contrastiveSettings } from "./clip_options.ts";
import type { TrainValues } from "./train_options.ts";
import type { TrainPreset } from "./train_presets.ts";

/** A run's settings. */
export function trainSettings(
  preset: TrainPreset,
  o: TrainValues,
  command: readonly string[],
): RunSettings {
  const given = {
    out: o.save_dir,
    tokenizer: o.tokenizer_path,
    vision: o.vision_path,
    checkpoints: o.checkpoints_path,
  };
  if (o.local_steps > 1 && (o.shard_optimizer || o.allreduce_dtype === "float16")) {
    throw new UsageError(
      `--local_steps ${o.local_steps} sends no gradients and gives each process an optimizer of its own; leave out ` +
        `--shard_optimizer and --allreduce_dtype.`,
    );
  }
  if (preset.model === "clip" && o.from_weight !== "none" && o.from_weight !== "vision") {
    throw new UsageError(
      `--from_weight must be vision or none, not ${o.from_weight}; --vision_path names the folder to begin with.`,
    );
  }
  if (o.tracking_uri !== undefined && o.tracker !== "mlflow") {
    throw new UsageError(
      `--tracking_uri ${o.tracking_uri} has no effect without --tracker mlflow; give that too, or leave it out.`,
    );
  }
  if (o.val_path !== undefined && o.val_ratio > 0) {
    throw new UsageError(
      `--val_ratio ${o.val_ratio} has no effect beside --val_path ${o.val_path}; leave one of them out.`,
    );
  }
  const folder = modelFolder(o.root, given);
  const size = preset.model === "clip" ? "" : `_${o.hidden_size}${o.use_moe ? "_moe" : ""}`;
  return {
    folder,
    dataPath: o.data_path ?? join(folder.dataset, `${preset.data}_data.jsonl`),
    imagesPath: o.images_path ?? join(folder.dataset, `${preset.data}_images`),
    fromWeight: o.from_weight,
    saveWeight: o.save_weight,
    hiddenSize: o.hidden_size,
    language: {
      use_moe: o.use_moe,
      ...(o.num_hidden_layers !== undefined && { num_hidden_layers: o.num_hidden_layers }),
    },
    pictures: preset.model !== "llm",
    contrastive: preset.model === "clip" ? contrastiveSettings(o) : undefined,
    freeze: Number(o.freeze_llm) as 0 | 1 | 2,
    freezeVision: o.freeze_vision,
    device: o.device,
    halfSums: o.allreduce_dtype === "float16",
    localSteps: o.local_steps,
    shardOptimizer: o.shard_optimizer,
    dtype: o.dtype,
    epochs: o.epochs,
    batchSize: o.batch_size,
    learningRate: o.learning_rate,
    projectorLearningRate: o.projector_learning_rate,
    visionLearningRate: o.vision_learning_rate,
    warmupSteps: o.warmup_steps,
    adamw: {
      beta1: o.adam_beta1,
      beta2: o.adam_beta2,
      eps: o.adam_eps,
      weightDecay: o.weight_decay,
    },
    command,
    resume: o.from_resume,
    keep: o.keep,
    maxBadSteps: o.max_bad_steps,
    accumulationSteps: o.accumulation_steps,
    gradClip: o.grad_clip,
    maxLength: o.max_seq_len,
    logInterval: o.log_interval,
    saveInterval: o.save_interval,
    maxSteps: o.max_steps,
    seed: o.seed,
    shuffle: o.shuffle,
    groupWindow: o.group_window,
    workers: o.num_workers,
    onBadSample: o.on_bad_sample,
    valPath: o.val_path,
    valRatio: o.val_ratio,
    trackers: [...new Set([o.tracker, ...(o.use_wandb ? ["tensorboard"] as const : [])])],
    trackingUri: o.tracking_uri,
    project: o.wandb_project,
    sampleEvery: o.sample_every,
    metrics: o.metrics ?? join(folder.checkpoints, `${o.save_weight}${size}_metrics.jsonl`),
    featureCache: o.feature_cache,
    featureCacheBudget: o.feature_cache_budget,
    checkpointActivations: o.checkpoint_activations,
    compat: o.compat,
  };
}
