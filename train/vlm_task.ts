import { saveVlm } from "../data/vlm_files.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { answer } from "./answers.ts";
import { openFeatureCache } from "./open_feature_cache.ts";
import { openVlm, type RunData } from "./open_run.ts";
import type { ProgressReport } from "./progress.ts";
import { type RunSettings, weightPath } from "./settings.ts";
import type { TrainingTask } from "./task.ts";
import { validate } from "./validation.ts";

/** Opens what is trained by predicting tokens: a vision-language model, or a language model alone. */
export async function openVlmTask(
  gpu: Gpu,
  settings: RunSettings,
  data: RunData,
  precision: Precision,
  report: ProgressReport,
): Promise<TrainingTask> {
  using opened = new DisposableStack();
  const vlm = opened.use(await openVlm(gpu, settings, data.tokenizer, precision, report));
  const cache = opened.use(await openFeatureCache(settings, vlm, precision, data, report));
  const { language, vision } = vlm.config;
  const { learningRate, projectorLearningRate, visionLearningRate } = settings;
  const weights = (kind = "") =>
    weightPath(
      settings.folder.out,
      settings.saveWeight + kind,
      language.hidden_size,
      language.use_moe,
    );
  const held = opened.move();
  return {
    model: vlm,
    learningRates: {
      projector: projectorLearningRate ?? learningRate,
      language: learningRate,
      vision: visionLearningRate ?? learningRate,
    },
    fixed: {
      hidden_size: language.hidden_size,
      num_hidden_layers: language.num_hidden_layers,
      use_moe: language.use_moe,
      ...vision && {
        vision_hidden_size: vision.hidden_size,
        freeze_llm: settings.freeze,
        ...!settings.freezeVision && { freeze_vision: false },
      },
    },
    original: vlm.parameters,
    pictureSize: vision?.image_size ?? 0,
    weights,
    save: (kind) => saveVlm(vlm, weights(kind)),
    features: async (batch) => await cache?.features(batch),
    flush: async () => await cache?.flush(),
    validate: (loader, ranks) => validate(vlm, loader, cache, ranks),
    answer: async (loader, updates) => {
      const sample = await loader.sample(0).catch(() => undefined);
      return sample && await answer(vlm, data.tokenizer, sample, updates);
    },
    [Symbol.dispose]: () => held.dispose(),
  };
}
