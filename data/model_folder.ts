/** Where the files of a model lie, in folders laid out as MiniMind-V's, and the small ones read. */

import { join } from "@std/path";
import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import type { TokenizerFiles } from "../model/byte_tokenizer.ts";
import { ChatTemplate } from "../model/chat_template.ts";
import { ImageProcessor } from "../model/image_processor.ts";
import { parseStrictJson } from "../model/strict_json.ts";
import { Tokenizer } from "../model/tokenizer.ts";

/** The folders of a model; each path is relative to the working directory or absolute. */
export interface ModelFolder {
  /** Weights of the language model and the projection: `pretrain_vlm_512.pth`. */
  readonly out: string;
  /** The tokenizer. */
  readonly tokenizer: string;
  /** The vision encoder, as Hugging Face ships it. */
  readonly vision: string;
  /** Rows and pictures to train with. */
  readonly dataset: string;
  /** What a run continues from. */
  readonly checkpoints: string;
}

/**
 * The folders below a root; those that are given stand where they were given.
 *
 * @example
 * ```ts
 * import { modelFolder } from "./model_folder.ts";
 *
 * modelFolder("minimind-v", { out: "/data/out" }).dataset; // "minimind-v/dataset"
 * ```
 */
export function modelFolder(root: string = ".", given: Partial<ModelFolder> = {}): ModelFolder {
  return {
    out: given.out ?? join(root, "out"),
    tokenizer: given.tokenizer ?? join(root, "model"),
    vision: given.vision ?? join(root, "model", "vision_model", "clip-vit-base-patch16"),
    dataset: given.dataset ?? join(root, "dataset"),
    checkpoints: given.checkpoints ?? join(root, "checkpoints"),
  };
}

/**
 * Makes sure that a root is there, so that not each file below it is missed.
 *
 * @throws {GlimpseError} where there is no such folder.
 */
export async function requireRoot(root: string): Promise<void> {
  if (await Deno.stat(root).then((info) => info.isDirectory, () => false)) return;
  throw new GlimpseError(`There is no folder ${root}; --root names one laid out as MiniMind-V's.`);
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
export async function loadTokenizer(folder: string): Promise<LoadedTokenizer> {
  const tokenizer = await readJson("The tokenizer", folder, "tokenizer.json");
  const config = await readJson("The tokenizer", folder, "tokenizer_config.json");
  const template = await readIfPresent(join(folder, "chat_template.jinja"));
  if (template !== undefined) config.chat_template = new TextDecoder().decode(template);
  const files = { tokenizer, config };
  try {
    return {
      tokenizer: new Tokenizer(tokenizer, config),
      template: ChatTemplate.fromConfig(config),
      files,
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
 * Reads `preprocessor_config.json` of a vision encoder's folder.
 *
 * @throws {FormatError} that names the file, where it is missing, malformed or not supported.
 */
export async function loadImageProcessor(folder: string): Promise<LoadedImageProcessor> {
  const config = await readJson("The image processor", folder, "preprocessor_config.json");
  try {
    return { processor: new ImageProcessor(config), config };
  } catch (cause) {
    throw new FormatError(`In ${folder}: ${(cause as Error).message}`, { cause });
  }
}

async function readJson(
  what: string,
  folder: string,
  name: string,
): Promise<Record<string, unknown>> {
  const path = join(folder, name);
  const bytes = await readIfPresent(path);
  if (bytes !== undefined) return parseStrictJson(bytes, path);
  throw new FormatError(
    `${what} needs ${name}, which is not in ${folder}; put it there or name another folder.`,
  );
}

async function readIfPresent(path: string): Promise<Uint8Array | undefined> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
