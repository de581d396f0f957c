import { OutOfMemoryError, UsageError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import type { Clip } from "../model/clip.ts";
import { type ClipEncoderConfig, type MiniMindConfig, patchCount } from "../model/config.ts";
import type { Vlm } from "../model/vlm.ts";

/** What a batch may hold at most. */
export interface BatchShape {
  /** Sequences. */
  readonly samples: number;
  /** Rows of the longest. */
  readonly length: number;
  /** Whether blocks are computed again rather than kept; false unless given. */
  readonly checkpointActivations?: boolean;
}

/** Bytes on the device. */
export interface MemoryEstimate {
  /** Weights, gradients and the optimizer's moments. */
  readonly parameters: number;
  /** What a step keeps beside them, when each sample is as long as can be and has one picture. */
  readonly step: number;
  /** The largest single tensor of a step. */
  readonly largest: number;
}

/**
 * Estimates the memory of a training step from what its operations keep for the backward pass, which is float32.
 *
 * @param vlm The model, with what trains decided.
 * @param shape The largest batch.
 */
export function estimateMemory(
  vlm: Vlm,
  { samples, length, checkpointActivations = false }: BatchShape,
): MemoryEstimate {
  const { language, vision } = vlm.config;
  const all = [vlm.parameters, vlm.visionParameters];
  const parameters = all.reduce((sum, p) => sum + p.bytes + 8 * p.trainedCount, 0);
  const rows = samples * length;
  const visionRows = vision ? samples * (patchCount(vision) + 1) : 0;
  const trains = vlm.parameters.groups.some(({ name }) => name === "language");
  const block = rows * layerFloats(language, trains);
  const { num_hidden_layers: layers } = language;
  const { hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0 } = vision ?? {};
  const visionBlock = visionRows * (8 * hidden_size + 2 * intermediate_size);
  const kept = (layers: number, block: number, input: number) =>
    checkpointActivations ? layers * input + block : layers * block;
  const encoder = vlm.visionParameters.trainedCount > 0
    ? kept(num_hidden_layers, visionBlock, visionRows * hidden_size)
    : visionBlock;
  const wide = rows * 2 * language.intermediate_size * choices(language);
  const step = 4 * (kept(layers, block, rows * language.hidden_size) + 4 * wide + encoder);
  return { parameters, step, largest: 4 * Math.max(wide, visionRows * intermediate_size) };
}

/** Numbers that a block keeps of a row: what the backward of its operations reads. */
function layerFloats(language: MiniMindConfig, trains: boolean): number {
  const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: kvHeads } = language;
  const qkv = width + 2 * kvHeads * width / heads;
  const inner = language.intermediate_size * choices(language);
  const always = 2 * width + qkv + width + heads + 2 * inner; // residuals, q|k|v, attention, gate|up
  return always + (trains ? 2 * width + inner : 0); // inputs of the products whose weights train
}

/** Networks that a row passes in a feed-forward layer. */
function choices({ use_moe, num_experts_per_tok, n_shared_experts }: MiniMindConfig): number {
  return use_moe ? num_experts_per_tok + n_shared_experts : 1;
}

/**
 * Says how much memory a run takes, and refuses batches that cannot fit.
 *
 * @param available Bytes of memory that there are, where that is known.
 * @throws {UsageError} that names the largest batch which fits.
 */
export function checkMemory(vlm: Vlm, shape: BatchShape, available?: number): string {
  return requireFit(vlm.gpu, (samples) => estimateMemory(vlm, { ...shape, samples }), {
    samples: shape.samples,
    available,
    what: `A batch of ${shape.samples} samples of ${shape.length} tokens`,
    none: "use --max_seq_len",
    best: (best) =>
      `--batch_size ${best}, with --accumulation_steps for the rest; or lower --max_seq_len to what the data need`,
  });
}

/**
 * The same for a CLIP model.
 *
 * @param pairs How many go through the towers at once.
 * @throws {UsageError} that names how many fit.
 */
export function checkClipMemory(clip: Clip, pairs: number, available?: number): string {
  return requireFit(clip.gpu, (samples) => estimateClipMemory(clip, samples), {
    samples: pairs,
    available,
    what: `${pairs} pairs through the towers at once`,
    none: "choose smaller towers",
    best: (best) => `--micro_batch_size ${best}`,
  });
}

function estimateClipMemory({ config, parameters }: Clip, pairs: number): MemoryEstimate {
  const { vision, text } = config;
  const rows = [pairs * (patchCount(vision) + 1), pairs * text.max_position_embeddings] as const;
  const tower = ({ hidden_size, intermediate_size, num_hidden_layers }: ClipEncoderConfig) =>
    num_hidden_layers * (8 * hidden_size + 2 * intermediate_size);
  return {
    parameters: parameters.bytes + 8 * parameters.trainedCount,
    step: 4 * Math.max(rows[0] * tower(vision), rows[1] * tower(text)),
    largest: 4 * Math.max(rows[0] * vision.intermediate_size, rows[1] * text.intermediate_size),
  };
}

/** What is to fit, and the words for what does not. */
interface Fit {
  samples: number;
  available: number | undefined;
  what: string;
  none: string;
  best(samples: number): string;
}

function requireFit(
  gpu: Gpu,
  estimate: (samples: number) => MemoryEstimate,
  { samples, available, what, none, best: advice }: Fit,
): string {
  const most = gpu.device.limits.maxStorageBufferBindingSize;
  const fits = (samples: number) => {
    const { parameters, step, largest } = estimate(samples);
    return largest <= most && parameters + step <= (available ?? Infinity);
  };
  const { parameters, step, largest } = estimate(samples);
  const needed = `${formatBytes(parameters)} for weights and optimizer and up to ${
    formatBytes(step)
  } a step`;
  if (fits(samples)) return needed;
  let best = samples;
  while (best > 0 && !fits(best)) best--;
  const why = largest > most
    ? `one of its tensors would take ${formatBytes(largest)}, and this adapter's kernels see ${
      formatBytes(most)
    } at once`
    : `it takes ${needed}, and ${formatBytes(available!)} are available`;
  const refused = `${what} does not fit: ${why}.`;
  if (best === 0) throw new OutOfMemoryError(`${refused} Not even one sample does; ${none}.`);
  throw new UsageError(`${refused} The largest that fits is ${advice(best)}.`);
}
