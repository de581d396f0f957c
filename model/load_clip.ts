/** CLIP models from folders as Hugging Face ships them, or from sizes alone. */

import { UsageError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { Clip } from "./clip.ts";
import { type ClipConfig, clipConfig, type ClipTextConfig, clipTextConfig } from "./clip_config.ts";
import type { ClipVisionConfig } from "./config.ts";
import { clipPreprocessor, ImageProcessor } from "./image_processor.ts";
import { loadStrictly } from "./load_vlm.ts";
import type { LoadedImageProcessor, ModelFiles } from "./model_files.ts";
import type { Random } from "./random.ts";
import { isRecord, parseStrictJson } from "./strict_json.ts";
import type { TrainPolicy } from "./vlm.ts";

/** Sizes that are asked for; what is not is read from the folder, or that of ViT-B/16. */
export interface ClipSizes {
  /** Of the vision tower. */
  readonly vision: Partial<ClipVisionConfig>;
  /** Of the text tower. */
  readonly text: Partial<ClipTextConfig>;
  /** Width of the common space. */
  readonly projection_dim?: number | undefined;
}

/** What a CLIP model is to be. */
export interface ClipPlan {
  /** Shapes and constants. */
  readonly config: ClipConfig;
  /** What pictures go through. */
  readonly processor: LoadedImageProcessor;
  /** Whether the folder's text tower, if it has one, is of the same tokens. */
  readonly sameTokens: boolean;
}

/**
 * Plans a CLIP model from a folder's `config.json` and `preprocessor_config.json`, both of which may be missing, and the
 * sizes that are asked for.
 *
 * @param vocabSize Tokens of the tokenizer. A text tower of another number is not that of these tokens.
 * @throws {FormatError} where a file is malformed or numbers do not fit together.
 * @throws {UsageError} where the processor's pictures are not of the tower's size.
 */
export async function planClip(
  files: ModelFiles,
  folder: string,
  vocabSize: number,
  { vision, text, projection_dim }: ClipSizes,
): Promise<ClipPlan> {
  const path = `${folder}/config.json`;
  const bytes = await files.read(path);
  const found = bytes ? parseStrictJson(bytes, path) : { vision_config: { patch_size: 16 } };
  const own = isRecord(found.vision_config) ? found.vision_config : found;
  const texts = isRecord(found.text_config) ? found.text_config : {};
  const config = clipConfig({
    projection_dim: projection_dim ?? found.projection_dim,
    vision_config: { ...own, ...resized(vision) },
    text_config: { ...texts, ...resized(text), vocab_size: vocabSize },
  }, path);
  const name = `${folder}/preprocessor_config.json`;
  const written = await files.read(name);
  const { image_size: size } = config.vision;
  const kept = written && vision.image_size === undefined
    ? parseStrictJson(written, name)
    : { ...written && parseStrictJson(written, name), ...clipPreprocessor(size) };
  const processor = new ImageProcessor(kept);
  if (processor.size !== size) {
    throw new UsageError(
      `${name} makes pictures of ${processor.size} pixels, but config.json there wants ${size}.`,
    );
  }
  const { vocab_size } = clipTextConfig(texts, path);
  return { config, processor: { processor, config: kept }, sameTokens: vocab_size === vocabSize };
}

/** Sizes that are given, and those that follow from a width: four times it inside the MLP, heads of 64. */
function resized<C extends Partial<ClipVisionConfig & ClipTextConfig>>(given: C): Partial<C> {
  const { hidden_size: width } = given;
  const follows = width === undefined
    ? {}
    : { intermediate_size: 4 * width, num_attention_heads: Math.max(1, Math.round(width / 64)) };
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...follows, ...Object.fromEntries(known) } as Partial<C>;
}

/** What a CLIP model is loaded from. */
export interface ClipSource extends ClipPlan {
  /** Folder of its weights; without any there, or where it is not given, they are drawn anew. */
  readonly weights?: string | undefined;
  /** What trains; nothing unless given. */
  readonly train?: TrainPolicy | undefined;
  /** To what the operands of matrix products are rounded; float32 unless given. */
  readonly precision?: Precision | undefined;
  /** Pairs that go through the towers at once while training. */
  readonly microBatch?: number | undefined;
  /** Draws what the weights lack. */
  readonly random: Random;
}

/** A CLIP model, and which of its towers were drawn anew. */
export interface LoadedClip {
  /** The model. */
  readonly clip: Clip;
  /** Whether the vision tower was. */
  readonly newVision: boolean;
  /** Whether the text tower was. */
  readonly newText: boolean;
}

/**
 * Loads a CLIP model. Loading is strict for each tower; a text tower and projections that the folder lacks, or a text
 * tower of other tokens, are drawn anew.
 *
 * @throws {FormatError} that lists every missing, unexpected and misshapen tensor.
 */
export async function readClip(
  files: ModelFiles,
  gpu: Gpu,
  { config, processor: { processor }, sameTokens, weights: folder, ...source }: ClipSource,
): Promise<LoadedClip> {
  const { train, precision, microBatch, random } = source;
  const clip = new Clip(gpu, config, {
    ...{ imageMean: processor.mean, imageStd: processor.std },
    ...{ train, precision, microBatch },
  });
  try {
    if (folder === undefined || !await files.hasWeights(folder)) {
      clip.parameters.initialize(random);
      return { clip, newVision: true, newText: true };
    }
    await using file = await files.openWeights(folder);
    const newText = !sameTokens ||
      ![...file.tensors.keys()].some((name) => name.startsWith("text_model."));
    const absent = (name: string) =>
      name.startsWith("vision_model.")
        ? false
        : name.startsWith("text_")
        ? newText
        : !file.tensors.has(name);
    const ignore = (name: string) =>
      name.endsWith(".position_ids") || (newText && name.startsWith("text_"));
    clip.parameters.initialize(random, ({ name }) => absent(name));
    await loadStrictly(clip.parameters, file, folder, ignore, absent);
    return { clip, newVision: false, newText };
  } catch (error) {
    clip[Symbol.dispose]();
    throw error;
  }
}
