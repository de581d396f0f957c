/** Weights of a vision-language model, from files and to files, under the original's names. */

import { FormatError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { miniMindConfig, type MiniMindOptions } from "./config.ts";
import type { HostDtype, HostTensor } from "./host_tensor.ts";
import { inferMiniMindConfig } from "./infer_config.ts";
import { matchWeights } from "./load_weights.ts";
import { type ModelFiles, type OpenWeights, readClipConfig } from "./model_files.ts";
import type { Parameters, Quantization } from "./parameters.ts";
import type { Random } from "./random.ts";
import { type TrainPolicy, Vlm, type VlmConfig } from "./vlm.ts";
import type { WeightFile } from "./weight_file.ts";

/** The head's name in weight files, and that of the embedding, which it is. */
export const TIED: ReadonlyMap<string, string> = new Map([
  ["lm_head.weight", "model.embed_tokens.weight"],
]);

/** Tensors of a whole CLIP model that the vision tower has no use for. */
const NOT_VISION =
  /^(text_model\.|logit_scale$|visual_projection\.|text_projection\.|vision_model\.embeddings\.position_ids$)/;

/** What the names of a vision tower begin with that is saved within a vision-language model, as in the original's resume files. */
const OWN_TOWER = "vision_encoder.";
const OWN_VISION = /^vision_encoder\.vision_model\./;

/** What a vision-language model is loaded from. */
export interface VlmSource {
  /**
   * Weights of the language model, with or without the projection and a vision tower of its own; without a path they
   * are drawn anew.
   */
  readonly weights?: string | undefined;
  /** Folder of the vision tower as Hugging Face ships CLIP; without one the model is the language model alone. */
  readonly vision?: string | undefined;
  /** What the language model must be; the rest is read from the weights. */
  readonly language: MiniMindOptions;
  /** Mean and standard deviation of the pictures' colours. */
  readonly normalization?: Pick<VlmConfig, "imageMean" | "imageStd">;
  /** What trains; nothing unless given. A function of the number of layers. */
  readonly train?: ((layers: number) => TrainPolicy) | undefined;
  /** To what the operands of matrix products are rounded; float32 unless given. */
  readonly precision?: Precision | undefined;
  /** How the language model's linear layers are kept, if not in that precision; for models that do not train. */
  readonly quantization?: Quantization | undefined;
  /** Draws what the weights lack. */
  readonly random: Random;
}

/**
 * Loads a vision-language model. Loading is strict, but for the projection as a whole, which the weights of a pure
 * language model lack. A vision tower in the weights comes before the one in its folder; where neither has one and it is
 * to train, it is drawn anew.
 *
 * @returns The model, and whether its projection and its tower were drawn anew.
 * @throws {FormatError} that lists every missing, unexpected and misshapen tensor.
 */
export async function readVlm(
  files: ModelFiles,
  gpu: Gpu,
  source: VlmSource,
): Promise<{ vlm: Vlm; newProjection: boolean; newTower: boolean }> {
  const vision = source.vision === undefined
    ? undefined
    : await readClipConfig(files, source.vision);
  await using weights = source.weights ? await files.openWeights(source.weights) : emptyWeights();
  const language = source.weights
    ? inferMiniMindConfig(weights, source.language, source.weights)
    : miniMindConfig(source.language);
  const train = source.train?.(language.num_hidden_layers);
  const normalization = source.normalization ?? { imageMean: [0, 0, 0], imageStd: [1, 1, 1] };
  const config: VlmConfig = {
    ...{ language, vision, ...normalization },
    ownsVision: [...weights.tensors.keys()].some((name) => OWN_VISION.test(name)),
  };
  const vlm = new Vlm(gpu, config, train, source.precision, source.quantization);
  try {
    const newTower = source.vision !== undefined &&
      await loadTower(files, vlm, source.vision, weights, source);
    const hasProjection = [...weights.tensors.keys()].some((name) =>
      name.startsWith("vision_proj.")
    );
    const drawn = (name: string) =>
      !source.weights || (!hasProjection && name.startsWith("vision_proj."));
    if (source.vision === undefined && hasProjection) {
      throw new FormatError(`${source.weights} sees pictures; a language model alone is needed.`);
    }
    vlm.parameters.initialize(source.random, ({ name }) => drawn(name));
    if (source.weights) {
      await loadStrictly(vlm.parameters, weights, source.weights, undefined, drawn);
    }
    return { vlm, newProjection: !hasProjection, newTower };
  } catch (error) {
    vlm[Symbol.dispose]();
    throw error;
  }
}

/** Loads the vision tower from the weights or from its folder, or draws it anew to be trained; resolves to whether it did that. */
async function loadTower(
  files: ModelFiles,
  vlm: Vlm,
  folder: string,
  weights: WeightFile,
  { weights: path = "", random }: VlmSource,
): Promise<boolean> {
  const { visionParameters } = vlm;
  const own = [...weights.tensors].filter(([name]) => OWN_VISION.test(name));
  const ignore = (name: string) => NOT_VISION.test(name);
  if (own.length > 0) {
    const tensors = new Map(own.map(([name, tensor]) => [name.slice(OWN_TOWER.length), tensor]));
    await loadStrictly(visionParameters, { tensors, metadata: {} }, path, ignore);
  } else if (vlm.ownsVision && !await files.hasWeights(folder)) {
    visionParameters.initialize(random.fork("vision tower"));
    return true;
  } else {
    await using tower = await files.openWeights(folder);
    await loadStrictly(visionParameters, tower, folder, ignore);
  }
  return false;
}

/** What is saved of a model, under the original's names: the vision tower only if it has been trained. */
export function* savedTensors(vlm: Vlm, dtype: HostDtype): Generator<HostTensor> {
  yield* vlm.parameters.tensors(dtype);
  if (!vlm.ownsVision) return;
  for (const tensor of vlm.visionParameters.tensors(dtype)) {
    yield { ...tensor, name: OWN_TOWER + tensor.name };
  }
}

/**
 * Reads all parameters from a file.
 *
 * @param source What the file is called in errors.
 * @param ignore Tensors of the file that have no use here, on purpose.
 * @param absent Parameters that the file lacks, on purpose.
 * @throws {FormatError} that lists every missing, unexpected and misshapen tensor, or names one whose numbers are not
 * finite.
 */
export async function loadStrictly(
  parameters: Parameters,
  file: WeightFile,
  source: string,
  ignore: (name: string) => boolean = (name) => name.startsWith(OWN_TOWER),
  absent: (name: string) => boolean = () => false,
): Promise<void> {
  const expected = new Map([...parameters.expected()].filter(([name]) => !absent(name)));
  const matched = matchWeights(expected, file, { source, ignore, tied: TIED });
  await parameters.load(matched, source);
}

function emptyWeights(): OpenWeights {
  return { tensors: new Map(), metadata: {}, [Symbol.asyncDispose]: () => Promise.resolve() };
}
