import { join } from "@std/path";
import { Loader } from "../data/loader.ts";
import { loadImageProcessor, loadTokenizer, type ModelFolder } from "../data/model_folder.ts";
import { loadVlm, readClipConfig, saveVlm } from "../data/vlm_files.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { type MiniMindOptions, patchCount } from "../model/config.ts";
import { Random } from "../model/random.ts";
import type { Vlm } from "../model/vlm.ts";
import { type Freeze, trainPolicy } from "./freeze.ts";
import { MetricsFile } from "./metrics.ts";
import { AdamW } from "./optimizer.ts";
import { ProgressReport } from "./progress.ts";
import { Trainer, type Update } from "./trainer.ts";

/** Everything that a training run is told. */
export interface RunSettings {
  /** Where the model's files lie. */
  readonly folder: ModelFolder;
  /** JSON Lines file of conversations. */
  readonly dataPath: string;
  /** Folder of its pictures. */
  readonly imagesPath: string;
  /** Name of the weights to begin with, without size and ending; `none` for new ones. */
  readonly fromWeight: string;
  /** Name under which weights are saved, likewise. */
  readonly saveWeight: string;
  /** Hidden size of the language model, which is part of the files' names. */
  readonly hiddenSize: number;
  /** What else the language model must be. */
  readonly language: MiniMindOptions;
  /** What is frozen. */
  readonly freeze: Freeze;
  /** Adapter. */
  readonly device: string;
  /** Passes over the data. */
  readonly epochs: number;
  /** Samples of a batch. */
  readonly batchSize: number;
  /** Learning rate. */
  readonly learningRate: number;
  /** Batches averaged for one update. */
  readonly accumulationSteps: number;
  /** Longest gradient; longer ones are scaled down to it. */
  readonly gradClip: number;
  /** Tokens after which a sample is cut off. */
  readonly maxLength: number;
  /** Batches between log lines. */
  readonly logInterval: number;
  /** Batches between saved weights. */
  readonly saveInterval: number;
  /** Updates after which the run ends early. */
  readonly maxSteps: number | undefined;
  /** Seed of the order of samples and of new weights. */
  readonly seed: number;
  /** Whether each epoch shuffles the samples. */
  readonly shuffle: boolean;
  /** Workers that prepare batches. */
  readonly workers: number;
  /** What happens at a row that cannot be used. */
  readonly onBadSample: "stop" | "skip";
  /** Metrics file. */
  readonly metrics: string;
  /** Whether accumulation counts as the original does. */
  readonly compat: boolean;
}

/** How a run ended. */
export interface RunResult {
  /** Updates made. */
  readonly updates: number;
  /** Where the weights were saved last. */
  readonly saved: string;
  /** Whether it was asked to stop before its end. */
  readonly interrupted: boolean;
}

/** The name of a weight file: `{name}_{hidden}[_moe].pth`. */
export function weightPath(folder: string, name: string, hidden: number, moe: boolean): string {
  return join(folder, `${name}_${hidden}${moe ? "_moe" : ""}.pth`);
}

/**
 * Trains a model as told, and saves its weights at every interval and at the end.
 *
 * @param settings What to do.
 * @param report Where progress is shown.
 * @param signal Ends the run after the step in progress, with the weights saved.
 */
export async function runTraining(
  settings: RunSettings,
  report: ProgressReport,
  signal: AbortSignal,
): Promise<RunResult> {
  const { folder, epochs } = settings;
  await using loader = await openLoader(settings, report);
  using gpu = await Gpu.open(settings.device);
  using vlm = await openVlm(gpu, settings, report);
  await Deno.mkdir(folder.checkpoints, { recursive: true });
  using metrics = new MetricsFile(settings.metrics, false);
  using optimizer = new AdamW(gpu, vlm.parameters.groups, { clip: settings.gradClip });
  const { stepsPerEpoch } = loader;
  using trainer = new Trainer(vlm, optimizer, {
    epochs,
    stepsPerEpoch,
    learningRates: { projector: settings.learningRate, language: settings.learningRate },
    warmupSteps: 0,
    accumulationSteps: settings.accumulationSteps,
    compat: settings.compat,
  });
  const { hidden_size, use_moe } = vlm.config.language;
  const saved = weightPath(folder.out, settings.saveWeight, hidden_size, use_moe);
  const show = (updates: readonly Update[]) => {
    for (const { metrics: numbers, batch } of updates) {
      metrics.write(numbers);
      report.show({ epoch: numbers.epoch, epochs, step: batch, steps: stepsPerEpoch }, numbers);
    }
  };
  let interrupted = false;
  for await (const placed of loader.batches({ epochs })) {
    if (placed.batch.samples > 0 && placed.batch.labelRows.length === 0) {
      report.say(
        `epoch ${placed.epoch + 1}, batch ${
          placed.step + 1
        }: no sample has an answer to learn; skipped.`,
      );
    }
    show(await trainer.step(placed));
    interrupted = signal.aborted;
    const batch = placed.step + 1;
    const ends = interrupted || trainer.updates === settings.maxSteps;
    if (batch % settings.saveInterval === 0 || batch === stepsPerEpoch || ends) {
      show(await trainer.flush());
      await saveVlm(vlm, saved);
    }
    if (ends) break;
  }
  report.end();
  return { updates: trainer.updates, saved, interrupted };
}

async function openLoader(settings: RunSettings, report: ProgressReport): Promise<Loader> {
  const { folder } = settings;
  const [tokenizer, processor, clip] = await Promise.all([
    loadTokenizer(folder.tokenizer),
    loadImageProcessor(folder.vision),
    readClipConfig(folder.vision),
  ]);
  return new Loader({
    source: {
      dataPath: settings.dataPath,
      imagesPath: settings.imagesPath,
      tokenizer: tokenizer.files,
      preprocessor: processor.config,
      maxLength: settings.maxLength,
      tokensPerPicture: patchCount(clip),
    },
    batchSize: settings.batchSize,
    shuffle: settings.shuffle,
    seed: settings.seed,
    workers: settings.workers,
    onBadSample: settings.onBadSample,
    onSkip: (error) => report.say(`skipped: ${error.message}`),
  });
}

async function openVlm(gpu: Gpu, settings: RunSettings, report: ProgressReport): Promise<Vlm> {
  const { folder, fromWeight, hiddenSize, language } = settings;
  const { processor } = await loadImageProcessor(folder.vision);
  const weights = fromWeight === "none"
    ? undefined
    : weightPath(folder.out, fromWeight, hiddenSize, language.use_moe ?? false);
  const { vlm, newProjection } = await loadVlm(gpu, {
    weights,
    vision: folder.vision,
    language: { ...language, hidden_size: hiddenSize },
    normalization: { imageMean: processor.mean, imageStd: processor.std },
    train: (layers) => trainPolicy(settings.freeze, layers),
    random: new Random(settings.seed),
  });
  if (processor.size !== vlm.config.vision.image_size) {
    throw new UsageError(
      `preprocessor_config.json in ${folder.vision} makes pictures of ${processor.size} pixels, but config.json ` +
        `there wants ${vlm.config.vision.image_size}.`,
    );
  }
  const millions = (n: number) => (n / 1e6).toFixed(3);
  report.say(
    `${gpu.info.name}: ${millions(vlm.parameters.count)} M parameters and a vision tower of ` +
      `${millions(vlm.visionParameters.count)} M; ${
        millions(vlm.parameters.trainedCount)
      } M train` +
      `${weights && newProjection ? ", the projection from new" : ""}.`,
  );
  return vlm;
}
