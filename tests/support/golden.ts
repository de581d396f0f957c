import { bytesSource } from "../../model/bytes.ts";
import { clipVisionConfig, miniMindConfig } from "../../model/config.ts";
import { toFloat32 } from "../../model/host_tensor.ts";
import { matchWeights } from "../../model/load_weights.ts";
import { readSafetensors } from "../../model/safetensors.ts";
import { Vlm } from "../../model/vlm.ts";
import type { WeightFile } from "../../model/weight_file.ts";
import type { Batch } from "../../model/batch.ts";
import type { Precision } from "../../kernels/runtime/precision.ts";
import type { Gpu } from "../../kernels/runtime/gpu.ts";
import { type Freeze, trainPolicy } from "../../train/freeze.ts";

const FOLDER = new URL("../fixtures/golden/", import.meta.url);

/** One of the models whose values the original computed. */
export type GoldenName = "dense" | "moe" | "yarn";

async function open(path: string): Promise<WeightFile> {
  const url = new URL(path, FOLDER);
  return await readSafetensors(bytesSource(path, await Deno.readFile(url)));
}

/** What the original expects, by name, as float32. */
export async function goldenValues(
  name: GoldenName,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  for (const [key, tensor] of (await open(`${name}/expected.safetensors`)).tensors) {
    values.set(key, toFloat32(await tensor.read(), tensor.dtype));
  }
  return values;
}

/** The original's training runs. */
export interface GoldenRun {
  learning_rate: number;
  steps: number;
  accumulation_steps: number;
  grad_clip: number;
  freeze_llm: boolean;
  log: { step: number; lr: number; loss: number; aux_loss: number; grad_norm: number | null }[];
}

/** Reads the log of the original's training runs. */
export async function goldenRuns(name: GoldenName): Promise<Record<string, GoldenRun>> {
  return JSON.parse(await Deno.readTextFile(new URL(`${name}/training.json`, FOLDER)));
}

/** The model with the golden weights. */
export async function goldenVlm(
  gpu: Gpu,
  name: GoldenName,
  freeze?: Freeze,
  precision?: Precision,
): Promise<Vlm> {
  const json = JSON.parse(await Deno.readTextFile(new URL(`${name}/config.json`, FOLDER)));
  const { vision: visionJson, ...languageJson } = json;
  const language = miniMindConfig(languageJson);
  const config = {
    language,
    vision: clipVisionConfig(visionJson),
    imageMean: [0.48145466, 0.4578275, 0.40821073] as const,
    imageStd: [0.26862954, 0.26130258, 0.27577711] as const,
  };
  const train = freeze === undefined ? undefined : trainPolicy(freeze, language.num_hidden_layers);
  const vlm = new Vlm(gpu, config, train, precision);
  const base = name === "yarn" ? "dense" : name;
  for (
    const [parameters, source] of [
      [vlm.parameters, `${base}/model.safetensors`],
      [vlm.visionParameters, `${base}/clip_vision.safetensors`],
    ] as const
  ) {
    const matched = matchWeights(parameters.expected(), await open(source), { source });
    await parameters.load(matched, source);
  }
  return vlm;
}

/** The golden batch: two rows of 232 tokens with a picture each, whose pixels are given apart. */
export function goldenBatch(expected: Map<string, Float32Array<ArrayBuffer>>): Batch {
  const ids = Uint32Array.from(expected.get("input_ids")!);
  const mask = expected.get("loss_mask")!;
  const labels = expected.get("labels")!;
  const labelRows = [...mask.keys()].filter((row) => mask[row] === 1);
  return {
    ids,
    lengths: [232, 232],
    labelRows: Uint32Array.from(labelRows),
    targets: Uint32Array.from(labelRows, (row) => labels[row]!),
    imageRows: Uint32Array.from([...ids.keys()].filter((row) => ids[row] === 34)),
    pictures: new Uint8Array(0),
    pictureCount: 2,
    samples: 2,
  };
}
