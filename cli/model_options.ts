/** The options by which commands that talk to a model find it. */

import { type ModelFolder, modelFolder, requireRoot } from "../data/model_folder.ts";
import { openGpu } from "../data/open_gpu.ts";
import { type ChatModel, loadChatModel } from "../data/vlm_folder.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { choosePrecision } from "../train/precision.ts";
import { weightPath } from "../train/settings.ts";
import { choice, integer, number, type Option, path, text, zeroOrOne } from "./option_kinds.ts";
import type { OptionValues } from "./options.ts";

const MODEL = "Model";

/** Where the model is, as the original's `eval_vlm.py` names it. */
export const modelOptions = {
  root: path({ section: MODEL, help: "Folder laid out as MiniMind-V's.", default: "." }),
  load_from: path({
    section: MODEL,
    help: "model for the weights in --save_dir, or a folder in transformers' format.",
    default: "model",
  }),
  save_dir: path({ section: MODEL, help: "Folder of the weights.", defaultText: "out" }),
  weight: text({
    section: MODEL,
    help: "Name of the weights; size and ending are added.",
    default: "sft_vlm",
    placeholder: "NAME",
  }),
  hidden_size: integer({
    section: MODEL,
    help: "Width of the language model.",
    default: 512,
    min: 1,
  }),
  num_hidden_layers: integer({
    section: MODEL,
    help: "Layers of the language model.",
    defaultText: "read from the weights",
    min: 1,
  }),
  use_moe: zeroOrOne({
    section: MODEL,
    help: "Whether it is a mixture of experts.",
    default: false,
  }),
  tokenizer_path: path({
    section: MODEL,
    help: "Folder of the tokenizer.",
    defaultText: "model, or the folder of --load_from",
  }),
  vision_path: path({
    section: MODEL,
    help: "Folder of the CLIP vision tower.",
    defaultText: "model/vision_model/clip-vit-base-patch16",
  }),
  device: text({
    section: MODEL,
    help: "Adapter: gpu, software, or a piece of its name.",
    default: "gpu",
    placeholder: "NAME",
  }),
  dtype: choice(["float32", "float16", "bfloat16"], {
    section: MODEL,
    help: "Numbers that matrix products multiply; half precision takes half the memory.",
    default: "float32",
  }),
  quantize: choice(["none", "q8"], {
    section: MODEL,
    help: "Keep the language model's weights in 8 bits; they take a quarter of the memory.",
    default: "none",
  }),
} as const;

/** What those options read. */
export type ModelChoice = OptionValues<typeof modelOptions>;

/** Where the files of the model that was chosen are. */
export function chosenFolder(
  { root, save_dir, tokenizer_path, vision_path, load_from }: ModelChoice,
): ModelFolder {
  const tokenizer = tokenizer_path ?? (load_from === "model" ? undefined : load_from);
  return modelFolder(root, { out: save_dir, tokenizer, vision: vision_path });
}

/**
 * Makes sure that the folders which the choice names are there, so that not each file in them is missed.
 *
 * @throws {GlimpseError} where one is not.
 */
export async function requireFolders({ root, load_from }: ModelChoice): Promise<void> {
  await requireRoot(root);
  if (load_from === "model") return;
  if (await Deno.stat(load_from).then(({ isDirectory }) => isDirectory, () => false)) return;
  throw new GlimpseError(
    `There is no folder ${load_from}; --load_from names one in transformers' format, or is model.`,
  );
}

/** A device with a model on it. */
export interface OpenModel extends Disposable {
  /** The device. */
  readonly gpu: Gpu;
  /** The model. */
  readonly model: ChatModel;
}

/** Loads the model that was chosen onto the device that was chosen. */
export async function openModel(choice: ModelChoice): Promise<OpenModel> {
  const gpu = await openGpu(choice.device);
  try {
    const model = await loadChosen(gpu, choice);
    return {
      gpu,
      model,
      [Symbol.dispose]() {
        model[Symbol.dispose]();
        gpu[Symbol.dispose]();
      },
    };
  } catch (error) {
    gpu[Symbol.dispose]();
    throw error;
  }
}

/** Loads the model that was chosen; `weight` may be another name than the choice's. */
export async function loadChosen(
  gpu: Gpu,
  choice: ModelChoice,
  weight: string = choice.weight,
): Promise<ChatModel> {
  const { load_from, hidden_size, use_moe } = choice;
  await requireFolders(choice);
  const folder = chosenFolder(choice);
  const native = load_from === "model";
  return await loadChatModel(gpu, {
    weights: native ? weightPath(folder.out, weight, hidden_size, use_moe) : load_from,
    tokenizer: folder.tokenizer,
    precision: choosePrecision(gpu.info, choice.dtype),
    quantization: choice.quantize === "none" ? undefined : choice.quantize,
    vision: folder.vision,
    language: native
      ? {
        hidden_size,
        use_moe,
        ...(choice.num_hidden_layers !== undefined && {
          num_hidden_layers: choice.num_hidden_layers,
        }),
      }
      : {},
  });
}

const ANSWER = "Answer";

/** The options of how tokens are drawn that all commands with answers share. */
export const SAMPLING: Readonly<Record<"temperature" | "top_p" | "top_k", Option<number>>> = {
  temperature: number({
    section: ANSWER,
    help: "How much chance there is; 0 takes the likeliest token.",
    default: 0.65,
    min: 0,
    max: 10,
  }),
  top_p: number({
    section: ANSWER,
    help: "Only the likeliest tokens with this probability together.",
    default: 0.85,
    min: 0,
    max: 1,
  }),
  top_k: integer({
    section: ANSWER,
    help: "Only this many of the likeliest tokens; 0 for all.",
    default: 50,
    min: 0,
    max: 1e6,
  }),
};
