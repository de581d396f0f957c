import { FormatError, UsageError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import type { ChatModel } from "./chat_model.ts";
import { type MiniMindOptions, miniMindOptions } from "./config.ts";
import { readVlm } from "./load_vlm.ts";
import { type ModelFiles, readImageProcessor, readTokenizer } from "./model_files.ts";
import type { Quantization } from "./parameters.ts";
import { Random } from "./random.ts";
import { requireTokens } from "./require_tokens.ts";
import { parseStrictJson } from "./strict_json.ts";

/** Where a model to talk to is. */
export interface ChatSource {
  /** Weights of language model and projection: a file, or a folder in transformers' format. */
  readonly weights: string;
  /** Folder of the tokenizer. */
  readonly tokenizer: string;
  /** Folder of the vision tower. */
  readonly vision: string;
  /** To what the operands of matrix products are rounded; float32 unless given. */
  readonly precision?: Precision;
  /** What the model must be, if anything; the rest is read from its files. */
  readonly language?: MiniMindOptions;
  /** How the language model's linear layers are kept, if not in that precision. */
  readonly quantization?: Quantization | undefined;
}

/**
 * Loads a model to talk to.
 *
 * @throws {FormatError} when its weights have no projection, or do not fit, or fewer tokens than the tokenizer.
 */
export async function readChatModel(
  files: ModelFiles,
  gpu: Gpu,
  source: ChatSource,
): Promise<ChatModel> {
  const [{ tokenizer, template }, { processor }, language] = await Promise.all([
    readTokenizer(files, source.tokenizer),
    readImageProcessor(files, source.vision),
    languageOptions(files, source),
  ]);
  const { vlm, newProjection } = await readVlm(files, gpu, {
    weights: source.weights,
    vision: source.vision,
    language,
    normalization: { imageMean: processor.mean, imageStd: processor.std },
    precision: source.precision,
    quantization: source.quantization,
    random: new Random(0),
  });
  using loaded = new DisposableStack();
  loaded.use(vlm);
  if (newProjection) {
    throw new FormatError(
      `${source.weights} is a language model without a projection for pictures; train one with \`deno task pretrain\`.`,
    );
  }
  requireTokens(tokenizer, vlm, source.tokenizer);
  loaded.move();
  return { vlm, tokenizer, template, processor, [Symbol.dispose]: () => vlm[Symbol.dispose]() };
}

/** What the folder's `config.json` says of the language model, when there is one, and what was given. */
async function languageOptions(
  files: ModelFiles,
  { weights, language = {} }: ChatSource,
): Promise<MiniMindOptions> {
  const path = `${weights}/config.json`;
  const isFile = /\.(pth|pt|bin|safetensors)$/.test(weights);
  const bytes = isFile ? undefined : await files.read(path);
  if (!bytes) return language;
  const found = miniMindOptions(parseStrictJson(bytes, path), path);
  for (const key of Object.keys(language) as (keyof MiniMindOptions)[]) {
    if (found[key] !== undefined && language[key] !== undefined && found[key] !== language[key]) {
      throw new UsageError(`${key} was given as ${language[key]}, but ${path} has ${found[key]}.`);
    }
  }
  return { ...language, ...found };
}
