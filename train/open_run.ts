import { openClipPlan } from "../data/clip_files.ts";
import type { DatasetSource } from "../data/dataset.ts";
import { holdOut } from "../data/hold_out.ts";
import { Loader } from "../data/loader.ts";
import { loadClipConfig, loadImageProcessor, loadTokenizer } from "../data/model_folder.ts";
import { loadVlm } from "../data/vlm_files.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { pictureTokens } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { requireTokens } from "../model/require_tokens.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Vlm } from "../model/vlm.ts";
import type { Communicator } from "./communicator.ts";
import { trainPolicy } from "./freeze.ts";
import { checkMemory } from "./memory_estimate.ts";
import type { ProgressReport } from "./progress.ts";
import { type RunSettings, startWeights } from "./settings.ts";

/** A run's data. */
export interface RunData extends AsyncDisposable {
  /** What it learns from. */
  readonly train: Loader;
  /** What it is measured on, if anything. */
  readonly validation: Loader | undefined;
  /** The tokenizer of both. */
  readonly tokenizer: Tokenizer;
}

/** Opens a run's data, of which each rank takes its part of every batch. */
export async function openData(
  settings: RunSettings,
  report: ProgressReport,
  { rank, size }: Communicator,
): Promise<RunData> {
  const { folder, valPath, valRatio, seed } = settings;
  const tokenizer = await loadTokenizer(folder.tokenizer);
  const source = {
    dataPath: settings.dataPath,
    imagesPath: settings.imagesPath,
    tokenizer: tokenizer.files,
    maxLength: settings.maxLength,
    ...await pictureSource(settings, tokenizer.tokenizer),
  };
  const common = {
    batchSize: settings.batchSize * size,
    part: { rank, size },
    seed,
    onBadSample: settings.onBadSample,
    // only to the balance of experts does padding matter
    padTo: settings.compat && settings.language.use_moe ? settings.maxLength - 1 : 0,
    padId: tokenizer.tokenizer.padId,
    onSkip: (error: Error) => report.warn(`skipped: ${error.message}`),
  };
  const split = valRatio > 0 && valPath === undefined;
  await using opened = new AsyncDisposableStack();
  const train = opened.use(
    new Loader({
      ...common,
      source,
      choose: split ? (length) => holdOut(length, valRatio, seed).train : undefined,
      shuffle: settings.shuffle,
      groupWindow: settings.groupWindow,
      workers: settings.workers,
    }),
  );
  const validation = split || valPath !== undefined
    ? opened.use(
      new Loader({
        ...common,
        source: { ...source, dataPath: valPath ?? settings.dataPath },
        choose: split ? (length) => holdOut(length, valRatio, seed).held : undefined,
        shuffle: false,
        workers: Math.min(1, settings.workers),
      }),
    )
    : undefined;
  const held = opened.move();
  return {
    train,
    validation,
    tokenizer: tokenizer.tokenizer,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** What the towers want of pictures and texts. */
async function pictureSource(
  { folder, pictures, contrastive }: RunSettings,
  { vocabSize }: Tokenizer,
): Promise<Partial<DatasetSource>> {
  if (contrastive) {
    const { config, processor } = await openClipPlan(folder.vision, vocabSize, contrastive.sizes);
    return {
      preprocessor: processor.config,
      maxLength: config.text.max_position_embeddings,
      tokensPerPicture: 0,
      captions: true,
    };
  }
  if (!pictures) return { tokensPerPicture: 0 };
  const [{ config }, clip] = await Promise.all([
    loadImageProcessor(folder.vision),
    loadClipConfig(folder.vision),
  ]);
  return { preprocessor: config, tokensPerPicture: pictureTokens(clip) };
}

/** Loads the model that a run begins with, and says what it is. A new one has as many tokens as the tokenizer. */
export async function openVlm(
  gpu: Gpu,
  settings: RunSettings,
  tokenizer: Tokenizer,
  precision: Precision,
  report: ProgressReport,
): Promise<Vlm> {
  const { folder, hiddenSize, pictures, freezeVision } = settings;
  const processor = pictures ? (await loadImageProcessor(folder.vision)).processor : undefined;
  const weights = startWeights(settings);
  const language = { ...settings.language, hidden_size: hiddenSize };
  const { vlm, newProjection, newTower } = await loadVlm(gpu, {
    weights,
    language: weights ? language : { ...language, vocab_size: tokenizer.vocabSize },
    ...processor && {
      vision: folder.vision,
      normalization: { imageMean: processor.mean, imageStd: processor.std },
    },
    train: (layers) => trainPolicy(settings.freeze, layers, freezeVision),
    precision,
    random: new Random(settings.seed),
  });
  requireTokens(tokenizer, vlm, folder.tokenizer);
  const { vision } = vlm.config;
  if (vision && processor && processor.size !== vision.image_size) {
    throw new UsageError(
      `preprocessor_config.json in ${folder.vision} makes pictures of ${processor.size} pixels, but config.json ` +
        `there wants ${vision.image_size}.`,
    );
  }
  const { batchSize: samples, maxLength: length, checkpointActivations } = settings;
  const shape = { samples, length, checkpointActivations };
  const memory = checkMemory(vlm, shape, gpu.info.software ? availableMemory() : undefined);
  const millions = (n: number) => (n / 1e6).toFixed(3);
  report.say(
    `${gpu.info.name}, ${precision}: ${millions(vlm.parameters.count)} M parameters` +
      `${vision ? ` and a vision tower of ${millions(vlm.visionParameters.count)} M` : ""}; ${
        millions(vlm.parameters.trainedCount + vlm.visionParameters.trainedCount)
      } M train` +
      `${vision && weights && newProjection ? ", the projection from new" : ""}` +
      `${newTower ? ", the tower from new" : ""}. Memory: ${memory}.`,
  );
  return vlm;
}

/** Bytes of memory that the system has left, where it may be asked. */
export function availableMemory(): number | undefined {
  const asked = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return asked.state === "granted" ? Deno.systemMemoryInfo().available : undefined;
}
