/** A model of the real size on random weights, and a training step of it. */
import { startTape } from "../../kernels/elementwise.ts";
import type { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Precision } from "../../kernels/runtime/precision.ts";
import type { Tensor } from "../../kernels/runtime/tensor.ts";
import { type Batch, packSamples, type Sample } from "../../model/batch.ts";
import {
  type ClipVisionConfig,
  clipVisionConfig,
  type MiniMindConfig,
  miniMindConfig,
  patchCount,
} from "../../model/config.ts";
import type { Quantization } from "../../model/parameters.ts";
import { Random } from "../../model/random.ts";
import { Vlm } from "../../model/vlm.ts";
import { trainPolicy } from "../../train/freeze.ts";
import { AdamW } from "../../train/optimizer.ts";

/** What is trained on what. */
export interface Workload {
  /** What trains: the projection, the language model too, or nothing. */
  readonly stage: "pretrain" | "sft" | "decode";
  /** Width of the language model. */
  readonly hiddenSize: number;
  /** Its layers. */
  readonly layers: number;
  /** Whether it is a mixture of experts. */
  readonly moe: boolean;
  /** Tokens of each sample, 196 of which are a picture. */
  readonly lengths: readonly number[];
  /** Tokens at each sample's end that are to be learnt. */
  readonly answer: number;
  /** Whether the pictures' features are known. */
  readonly cached: boolean;
  /** Whether blocks are computed again for the backward pass. */
  readonly recomputes: boolean;
}

/** Placeholders of a picture. */
export const PATCHES = 196;
/** Where a sample's picture begins. */
export const START = 10;

/** A sample with one picture near its start whose last tokens are the answer, as `pytorch/step.py` has it. */
export function sampleOf(index: number, length: number, answer: number, random: Random): Sample {
  const ids = Uint32Array.from({ length }, (_, i) => {
    const picture = i >= START && i < START + PATCHES;
    return picture ? 34 : 100 + Math.floor(random.float() * 6300);
  });
  const mask = Uint8Array.from(ids, (_, i) => i >= length - answer ? 1 : 0);
  const picture = Uint8Array.from({ length: 3 * 224 * 224 }, () => random.float() * 256);
  return { index, ids, mask, pictureStarts: [START], pictures: [picture] };
}

/** How weights are kept. */
export interface WeightFormat {
  /** The operands of matrix products; float32 unless given. */
  readonly precision?: Precision | undefined;
  /** The language model's linear layers, if not so. */
  readonly quantization?: Quantization | undefined;
}

/** CLIP ViT-B/16 and a MiniMind language model, random. */
export function randomVlm(
  gpu: Gpu,
  { stage, hiddenSize, layers, moe }: Pick<Workload, "stage" | "hiddenSize" | "layers" | "moe">,
  { precision, quantization }: WeightFormat = {},
): Vlm {
  const language = miniMindConfig({
    hidden_size: hiddenSize,
    num_hidden_layers: layers,
    use_moe: moe,
  });
  const config = {
    language,
    vision: clipVisionConfig({ patch_size: 16 }),
    imageMean: [0.48145466, 0.4578275, 0.40821073] as const,
    imageStd: [0.26862954, 0.26130258, 0.27577711] as const,
  };
  const train = trainPolicy(stage === "sft" ? 0 : 1, layers);
  const trained = stage === "decode" ? undefined : train;
  const vlm = new Vlm(gpu, config, trained, precision, quantization);
  const random = new Random(0);
  vlm.parameters.initialize(random);
  vlm.visionParameters.initialize(random);
  return vlm;
}

/** Additions and multiplications that a step asks for, however it is computed. */
export function stepFlops({ config }: Vlm, batch: Batch, work: Workload): number {
  const { language, vision } = config;
  const trained = work.stage === "sft";
  const passes = trained ? 3 : 2; // forward, the input's gradient, the weight's
  const rows = batch.ids.length, labels = batch.labelRows.length;
  const { hidden_size: width, num_hidden_layers: layers, vocab_size } = language;
  const attention = 3.5 * batch.lengths.reduce((sum, length) => sum + 2 * length ** 2 * width, 0);
  const [before, after] = blockWeights(language);
  const products = 2 * passes *
    (layers * before * rows + after * ((layers - 1) * rows + labels) + vocab_size * width * labels);
  const projection = 2 * 2 * batch.imageRows.length * vision!.hidden_size * width;
  const encoder = work.cached ? 0 : encoderFlops(vision!, batch.pictureCount);
  return encoder + projection + products + layers * attention;
}

/** Additions and multiplications that a vision tower takes for some pictures. */
export function encoderFlops(vision: ClipVisionConfig, pictures: number): number {
  const { hidden_size: width, intermediate_size: inner, num_hidden_layers, patch_size } = vision;
  const patches = patchCount(vision), tokens = patches + 1;
  const block = 2 * tokens * (4 * width ** 2 + 2 * width * inner) + 4 * tokens ** 2 * width;
  return pictures * (num_hidden_layers * block + 2 * patches * 3 * patch_size ** 2 * width);
}

/** Weights that a row passes in a block's products: up to attention, and after it. */
function blockWeights(language: MiniMindConfig): [number, number] {
  const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: kvHeads } = language;
  const { use_moe, num_experts_per_tok, n_shared_experts, intermediate_size: inner } = language;
  const networks = use_moe ? num_experts_per_tok + n_shared_experts : 1;
  return [width ** 2 * (1 + 2 * kvHeads / heads), width ** 2 + networks * 3 * width * inner];
}

/** Training steps of a workload, recorded one by one. */
export class TrainingStep implements Disposable {
  /** The model. */
  readonly vlm: Vlm;
  /** What it learns from. */
  readonly batch: Batch;
  /** Additions and multiplications of a step. */
  readonly flops: number;
  readonly #optimizer: AdamW;
  readonly #features: Tensor | undefined;
  readonly #recomputes: boolean;

  /** The model, its optimizer and a batch. */
  constructor(gpu: Gpu, work: Workload) {
    const random = new Random(1);
    this.vlm = randomVlm(gpu, work);
    const samples = work.lengths.map((length, i) => sampleOf(i, length, work.answer, random));
    this.batch = packSamples(samples, PATCHES);
    this.flops = stepFlops(this.vlm, this.batch, work);
    this.#optimizer = new AdamW(gpu, this.vlm.groups, { clip: 1 });
    this.#recomputes = work.recomputes;
    const { pictures, pictureCount } = this.batch;
    this.#features = work.cached
      ? gpu.detached(() => this.vlm.encodePictures(pictures, pictureCount))
      : undefined;
  }

  /** Records a step. */
  record(): void {
    const { gpu } = this.vlm;
    using _scope = gpu.scope();
    {
      using _forward = gpu.scope();
      using tape = startTape(gpu, this.#recomputes);
      const { loss, auxLoss } = this.vlm.losses(this.batch, 1, this.#features);
      using seed = this.#optimizer.seed();
      tape.backward(auxLoss ? [loss, auxLoss] : [loss], seed);
    }
    using _outcome = this.#optimizer.step({ projector: 1e-5, language: 1e-5 });
    this.vlm.parameters.zeroGradients();
  }

  /** Frees all of it. */
  [Symbol.dispose](): void {
    this.#features?.dispose();
    this.#optimizer[Symbol.dispose]();
    this.vlm[Symbol.dispose]();
  }
}
