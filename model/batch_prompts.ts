import { type KvCache, packPrompts } from "../kernels/kv_cache.ts";
import { linear } from "../kernels/matmul.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { BatchSampler, type PendingTokens } from "./batch_sampler.ts";
import type { Sequence } from "./sequence.ts";
import type { Vlm } from "./vlm.ts";

/** Reads what is new of the prompts of sequences, and draws the first token of each; all is sent to the device. */
export function readPrompts(
  vlm: Vlm,
  cache: KvCache,
  sequences: readonly Sequence[],
): PendingTokens {
  const { gpu, language, tokensPerPicture: each } = vlm;
  using _scope = gpu.scope();
  const ids: number[] = [], imageRows: number[] = [];
  const pictures: Tensor[] = [];
  for (const sequence of sequences) {
    const { cachedTokens: known } = sequence;
    const start = ids.length;
    sequence.pictures.forEach(({ features }, i) => {
      const rows = [...sequence.imageRows.subarray(i * each, (i + 1) * each)];
      if (rows[0]! < known) return;
      pictures.push(features);
      imageRows.push(...rows.map((row) => row - known + start));
    });
    for (let i = known; i < sequence.ids.length; i++) ids.push(sequence.ids[i]!);
  }
  const x = vlm.embed(
    Uint32Array.from(ids),
    Uint32Array.from(imageRows),
    pictures.length > 0 ? joined(pictures) : undefined,
  );
  const prompts = packPrompts(
    gpu,
    sequences.map(({ slot, cachedTokens, ids }) => ({ slot, from: cachedTokens, to: ids.length })),
  );
  const longest = Math.max(...sequences.map(({ ids }) => ids.length));
  const context = { cache, rows: prompts.rows, prompts, longest };
  const hidden = language.forward(x, context, prompts.last.rows);
  const sampler = new BatchSampler(vlm, sequences);
  sampler.draw(linear(hidden, language.embedding));
  const first = sampler.take();
  gpu.submit();
  for (const sequence of sequences) {
    sequence.started = true;
    for (const { features } of sequence.pictures) features.dispose();
  }
  return first;
}

/** Tensors of equal width below each other, or the one that there is. */
function joined(parts: readonly Tensor[]): Tensor {
  if (parts.length === 1) return parts[0]!;
  const { gpu, width } = parts[0]!;
  const all = gpu.empty([parts.reduce((rows, part) => rows + part.rows, 0), width]);
  let start = 0;
  for (const part of parts) {
    gpu.copy(part, all.view(part.shape, start));
    start += part.size;
  }
  return all;
}
