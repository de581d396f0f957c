import { join } from "@std/path";
import { FormatError, UsageError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { ChatModel } from "../model/chat_model.ts";
import { type MiniMindOptions, miniMindOptions } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { parseStrictJson } from "../model/strict_json.ts";
import { loadImageProcessor, loadTokenizer, modelFolder } from "./model_folder.ts";
import { loadVlm } from "./vlm_files.ts";

export type { ChatModel };

/** Where a model to talk to is. */
export interface ChatSource {
  /** Weights of language model and projection: a file, or a folder in transformers' format. */
  readonly weights: string;
  /** Folder of the tokenizer. */
  readonly tokenizer: string;
  /** Folder of the vision tower. */
  readonly vision: string;
  /** What the model must be, if anything; the rest is read from its files. */
  readonly language?: MiniMindOptions;
}

/**
 * Where a model is in a folder laid out as MiniMind-V's.
 *
 * @param root The folder.
 * @param name Its weights without their ending, `sft_vlm_512` for `out/sft_vlm_512.pth`.
 */
export function chatSource(root: string, name: string): ChatSource {
  const { out, tokenizer, vision } = modelFolder(root);
  return { weights: join(out, `${name}.pth`), tokenizer, vision };
}

/**
 * Loads a model to talk to.
 *
 * @throws {FormatError} when its weights have no projection, or do not fit.
 */
export async function loadChatModel(gpu: Gpu, source: ChatSource): Promise<ChatModel> {
  const [{ tokenizer, template }, { processor }, language] = await Promise.all([
    loadTokenizer(source.tokenizer),
    loadImageProcessor(source.vision),
    languageOptions(source),
  ]);
  const { vlm, newProjection } = await loadVlm(gpu, {
    weights: source.weights,
    vision: source.vision,
    language,
    normalization: { imageMean: processor.mean, imageStd: processor.std },
    random: new Random(0),
  });
  if (newProjection) {
    vlm[Symbol.dispose]();
    throw new FormatError(
      `${source.weights} is a language model without a projection for pictures; train one with \`deno task pretrain\`.`,
    );
  }
  return { vlm, tokenizer, template, processor, [Symbol.dispose]: () => vlm[Symbol.dispose]() };
}

/** What the folder's `config.json` says of the language model, when there is one, and what was given. */
async function languageOptions({ weights, language = {} }: ChatSource): Promise<MiniMindOptions> {
  const path = join(weights, "config.json");
  const bytes = await Deno.readFile(path).catch(() => undefined);
  if (!bytes) return language;
  const found = miniMindOptions(parseStrictJson(bytes, path), path);
  for (const key of Object.keys(language) as (keyof MiniMindOptions)[]) {
    if (found[key] !== undefined && language[key] !== undefined && found[key] !== language[key]) {
      throw new UsageError(`${key} was given as ${language[key]}, but ${path} has ${found[key]}.`);
    }
  }
  return { ...language, ...found };
}
