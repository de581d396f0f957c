/** The files of a model, wherever they lie, and the small ones read. */

import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import type { TokenizerFiles } from "./byte_tokenizer.ts";
import { ChatTemplate } from "./chat_template.ts";
import { type ClipVisionConfig, clipVisionConfig } from "./config.ts";
import { ImageProcessor } from "./image_processor.ts";
import { parseStrictJson } from "./strict_json.ts";
import { Tokenizer } from "./tokenizer.ts";
import type { WeightFile } from "./weight_file.ts";

/** Weights whose files stay open until they are disposed of. */
export type OpenWeights = WeightFile & AsyncDisposable;

/** What brings files: from a disk by their paths, from the web by their addresses. */
export interface ModelFiles {
  /** A small file, whole; nothing where there is none. */
  read(path: string): Promise<Uint8Array | undefined>;
  /**
   * Opens weights: a file, or what a folder has. Tensors are read when asked.
   *
   * @throws {GlimpseError} where there are none.
   * @throws {FormatError} where they are truncated, corrupt, unsafe or of another kind.
   */
  openWeights(path: string): Promise<OpenWeights>;
  /** Whether a folder holds weights at all. */
  hasWeights(folder: string): Promise<boolean>;
}

/** A tokenizer with its chat template. */
export interface LoadedTokenizer {
  /** Text to ids and back. */
  readonly tokenizer: Tokenizer;
  /** Conversations to text. */
  readonly template: ChatTemplate;
  /** What both are made of, for workers to make their own. */
  readonly files: TokenizerFiles;
}

/**
 * Reads `tokenizer.json` and `tokenizer_config.json`, and `chat_template.jinja` where it is present.
 *
 * @throws {FormatError} that names the file that is missing or malformed.
 */
export async function readTokenizer(files: ModelFiles, folder: string): Promise<LoadedTokenizer> {
  const tokenizer = await readJson(files, "The tokenizer", folder, "tokenizer.json");
  const config = await readJson(files, "The tokenizer", folder, "tokenizer_config.json");
  const template = await files.read(`${folder}/chat_template.jinja`);
  if (template !== undefined) config.chat_template = new TextDecoder().decode(template);
  try {
    return {
      tokenizer: new Tokenizer(tokenizer, config),
      template: ChatTemplate.fromConfig(config),
      files: { tokenizer, config },
    };
  } catch (cause) {
    throw new FormatError(`In ${folder}: ${(cause as Error).message}`, { cause });
  }
}

/** An image processor with the file that it is made of. */
export interface LoadedImageProcessor {
  /** Pictures to pixels. */
  readonly processor: ImageProcessor;
  /** The parsed `preprocessor_config.json`, for workers to make their own. */
  readonly config: Record<string, unknown>;
}

/**
 * Reads `preprocessor_config.json` of a vision tower's folder.
 *
 * @throws {FormatError} that names the file, where it is missing, malformed or not supported.
 */
export async function readImageProcessor(
  files: ModelFiles,
  folder: string,
): Promise<LoadedImageProcessor> {
  const name = "preprocessor_config.json";
  const config = await readJson(files, "The image processor", folder, name);
  try {
    return { processor: new ImageProcessor(config), config };
  } catch (cause) {
    throw new FormatError(`In ${folder}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Reads the configuration of the vision tower in a folder.
 *
 * @throws {GlimpseError} where there is none.
 * @throws {FormatError} where it is malformed or not supported.
 */
export async function readClipConfig(files: ModelFiles, folder: string): Promise<ClipVisionConfig> {
  const path = `${folder}/config.json`;
  const bytes = await files.read(path);
  if (bytes) return clipVisionConfig(parseStrictJson(bytes, path), path);
  throw new GlimpseError(
    `There is no ${path}. The vision tower is expected there as Hugging Face ships CLIP ` +
      `(config.json and model.safetensors or pytorch_model.bin).`,
  );
}

async function readJson(
  files: ModelFiles,
  what: string,
  folder: string,
  name: string,
): Promise<Record<string, unknown>> {
  const path = `${folder}/${name}`;
  const bytes = await files.read(path);
  if (bytes) return parseStrictJson(bytes, path);
  throw new FormatError(
    `${what} needs ${name}, which is not in ${folder}; put it there or name another folder.`,
  );
}
