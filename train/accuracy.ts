/** How often a model gives exactly the expected answer, with the pictures and without. */

import type { VlmDataset } from "../data/dataset.ts";
import { linear } from "../kernels/matmul.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { packSequences } from "../kernels/sequences.ts";
import { type Batch, packSamples } from "../model/batch.ts";
import type { Vlm } from "../model/vlm.ts";

/** Whether an answer was exactly the expected one. */
export interface AnswerOutcome {
  /** With its own picture. */
  readonly seeing: boolean;
  /** With another sample's picture. */
  readonly blind: boolean;
}

/**
 * Asks a model all questions of a data set at temperature 0 and compares its answers with the expected ones.
 *
 * Nothing is generated: a greedy answer is the expected one exactly if each of its tokens is the likeliest after those
 * before it, which one pass shows.
 *
 * @param dataset Rows with one picture and one answer each.
 * @param batchSize Rows of a pass; each is shown the picture of another of these when blind.
 * @param progress Hears how many rows are done.
 * @returns For each row what came of it.
 */
export async function measureAnswers(
  vlm: Vlm,
  dataset: VlmDataset,
  batchSize = 35,
  progress: (done: number) => void = () => {},
): Promise<AnswerOutcome[]> {
  const outcomes: AnswerOutcome[] = [];
  for (let from = 0; from < dataset.length; from += batchSize) {
    const count = Math.min(batchSize, dataset.length - from);
    const samples = await Promise.all(
      Array.from({ length: count }, (_, i) => dataset.sample(from + i)),
    );
    const batch = packSamples(samples, vlm.tokensPerPicture);
    using _scope = vlm.gpu.scope();
    const features = vlm.encodePictures(batch.pictures, batch.pictureCount);
    const seeing = await exactAnswers(vlm, batch, features, dataset.tokenizer.eosId);
    const others = exchanged(features, batch.pictureCount);
    const blind = await exactAnswers(vlm, batch, others, dataset.tokenizer.eosId);
    outcomes.push(...seeing.map((seeing, i) => ({ seeing, blind: blind[i]! })));
    progress(from + count);
  }
  return outcomes;
}

/** For each sequence of a batch whether all tokens up to the end of its answer are the likeliest. */
async function exactAnswers(
  vlm: Vlm,
  batch: Batch,
  features: Tensor,
  eosId: number,
): Promise<boolean[]> {
  const { gpu, language } = vlm;
  using scope = gpu.scope();
  const sequences = packSequences(gpu, batch.lengths);
  const x = vlm.embed(batch.ids, batch.imageRows, features);
  const rows = gpu.tensor(batch.labelRows, [batch.labelRows.length]);
  const logits = scope.keep(linear(language.forward(x, sequences, rows), language.embedding));
  const values = new Float32Array((await gpu.readAll([logits]))[0]!);
  const exact: boolean[] = batch.lengths.map(() => true);
  const ended = new Set<number>();
  for (const [i, row] of batch.labelRows.entries()) {
    const sequence = sequences.offsets.findLastIndex((offset) => offset <= row);
    if (ended.has(sequence)) continue;
    const target = batch.targets[i]!;
    const own = values.subarray(i * logits.width, (i + 1) * logits.width);
    if (own.indexOf(own.reduce((a, b) => Math.max(a, b))) !== target) exact[sequence] = false;
    if (target === eosId) ended.add(sequence);
  }
  return exact;
}

/** The features of pictures, each in the place of one half of the batch further. */
function exchanged(features: Tensor, count: number): Tensor {
  const each = features.rows / count;
  const shift = Math.max(1, Math.floor(count / 2)) * each;
  const rows = Uint32Array.from({ length: features.rows }, (_, i) => (i + shift) % features.rows);
  return gatherRows(features, features.gpu.tensor(rows, [rows.length]));
}
