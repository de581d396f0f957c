import { basename, join } from "@std/path";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import {
  type ClipVisionConfig,
  clipVisionConfig,
  miniMindConfig,
  type MiniMindOptions,
} from "../model/config.ts";
import type { HostDtype } from "../model/host_tensor.ts";
import { inferMiniMindConfig } from "../model/infer_config.ts";
import { matchWeights } from "../model/load_weights.ts";
import type { Parameters } from "../model/parameters.ts";
import { pthChunks } from "../model/pth_writer.ts";
import type { Random } from "../model/random.ts";
import { parseStrictJson } from "../model/strict_json.ts";
import { type TrainPolicy, Vlm, type VlmConfig } from "../model/vlm.ts";
import type { WeightFile } from "../model/weight_file.ts";
import { writeFileAtomic } from "./files.ts";
import { openWeights } from "./open_weights.ts";

/** The head's name in weight files; it is the embedding itself. */
const TIED: ReadonlyMap<string, string> = new Map([
  ["lm_head.weight", "model.embed_tokens.weight"],
]);

/** Tensors of a whole CLIP model that the vision tower has no use for. */
const NOT_VISION =
  /^(text_model\.|logit_scale$|visual_projection\.|text_projection\.|vision_model\.embeddings\.position_ids$)/;

/** Tensors of a vision tower saved within a vision-language model, as the original's resume files hold it. */
const VISION_ENCODER = /^vision_encoder\./;

/** What a vision-language model is loaded from. */
export interface VlmSource {
  /** Weights of the language model, with or without the projection; without a path they are drawn anew. */
  readonly weights?: string | undefined;
  /** Folder of the vision tower as Hugging Face ships CLIP. */
  readonly vision: string;
  /** What the language model must be; the rest is read from the weights. */
  readonly language: MiniMindOptions;
  /** Mean and standard deviation of the pictures' colours. */
  readonly normalization: Pick<VlmConfig, "imageMean" | "imageStd">;
  /** What trains; nothing unless given. A function of the number of layers. */
  readonly train?: ((layers: number) => TrainPolicy) | undefined;
  /** To what the operands of matrix products are rounded; float32 unless given. */
  readonly precision?: Precision | undefined;
  /** Draws what the weights lack. */
  readonly random: Random;
}

/**
 * Loads a vision-language model. Loading is strict, but for the projection as a whole, which the weights of a pure
 * language model lack.
 *
 * @returns The model and whether its projection was drawn anew.
 * @throws {FormatError} that lists every missing, unexpected and misshapen tensor.
 */
export async function loadVlm(
  gpu: Gpu,
  source: VlmSource,
): Promise<{ vlm: Vlm; newProjection: boolean }> {
  const vision = await readClipConfig(source.vision);
  await using weights = source.weights ? await openWeights(source.weights) : emptyWeights();
  const language = source.weights
    ? inferMiniMindConfig(weights, source.language, source.weights)
    : miniMindConfig(source.language);
  const train = source.train?.(language.num_hidden_layers);
  await using tower = await openWeights(source.vision);
  const config = { language, vision, ...source.normalization };
  const vlm = new Vlm(gpu, config, train, source.precision);
  try {
    await loadStrictly(vlm.visionParameters, tower, source.vision, (name) => NOT_VISION.test(name));
    const hasProjection = [...weights.tensors.keys()].some((name) =>
      name.startsWith("vision_proj.")
    );
    const drawn = (name: string) =>
      !source.weights || (!hasProjection && name.startsWith("vision_proj."));
    vlm.parameters.initialize(source.random, ({ name }) => drawn(name));
    if (source.weights) {
      await loadStrictly(vlm.parameters, weights, source.weights, undefined, drawn);
    }
    return { vlm, newProjection: !hasProjection };
  } catch (error) {
    vlm[Symbol.dispose]();
    throw error;
  }
}

/** Reads the configuration of the vision tower in a folder. */
export async function readClipConfig(folder: string): Promise<ClipVisionConfig> {
  const path = join(folder, "config.json");
  const bytes = await Deno.readFile(path).catch(() => {
    throw new GlimpseError(
      `There is no ${path}. The vision tower is expected there as Hugging Face ships CLIP ` +
        `(config.json and model.safetensors or pytorch_model.bin).`,
    );
  });
  return clipVisionConfig(parseStrictJson(bytes, path), path);
}

/**
 * Writes the weights of the language model and the projection under the original's names, as `torch.load` reads them.
 *
 * @param dtype Half precision, as the original saves, unless told otherwise.
 */
export async function saveVlm(vlm: Vlm, path: string, dtype: HostDtype = "float16"): Promise<void> {
  const archive = basename(path).replace(/\.pth$/, "");
  await writeFileAtomic(path, pthChunks(vlm.parameters.tensors(dtype), archive, TIED));
}

/**
 * Reads all parameters from a file.
 *
 * @param source What the file is called in errors.
 * @param ignore Tensors of the file that have no use here, on purpose.
 * @param absent Parameters that the file lacks, on purpose.
 * @throws {FormatError} that lists every missing, unexpected and misshapen tensor.
 */
export async function loadStrictly(
  parameters: Parameters,
  file: WeightFile,
  source: string,
  ignore: (name: string) => boolean = (name) => VISION_ENCODER.test(name),
  absent: (name: string) => boolean = () => false,
): Promise<void> {
  const expected = new Map([...parameters.expected()].filter(([name]) => !absent(name)));
  await parameters.load(matchWeights(expected, file, { source, ignore, tied: TIED }));
}

function emptyWeights(): WeightFile & AsyncDisposable {
  return { tensors: new Map(), metadata: {}, [Symbol.asyncDispose]: () => Promise.resolve() };
}
