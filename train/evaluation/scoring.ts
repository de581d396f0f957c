import { gatherRows } from "../../kernels/rows.ts";
import type { Tensor } from "../../kernels/runtime/tensor.ts";
import { type Batch, packSamples, type Sample } from "../../model/batch.ts";
import type { Prompt } from "../../model/prompt.ts";
import type { Vlm } from "../../model/vlm.ts";

/** The loss of what one sample has to say. */
export interface SampleLoss {
  /** Cross-entropy of its tokens added up. */
  readonly sum: number;
  /** How many they are. */
  readonly tokens: number;
}

/**
 * The loss of each sample of a batch.
 *
 * @param samples Each with something to say, and no picture after that.
 * @param features Features of all their pictures.
 */
export async function sampleLosses(
  vlm: Vlm,
  samples: readonly Sample[],
  features: Tensor | undefined,
): Promise<SampleLoss[]> {
  const batch = packSamples(samples, vlm.tokensPerPicture);
  const losses = await rowLosses(vlm, batch, features);
  let end = 0, at = 0;
  return batch.lengths.map((length) => {
    end += length;
    let [sum, tokens] = [0, 0];
    for (; at < losses.length && batch.labelRows[at]! < end; at++, tokens++) sum += losses[at]!;
    return { sum, tokens };
  });
}

/** A question and what there is to choose, as ids. */
export interface Choice {
  /** The question. */
  readonly prompt: Prompt;
  /** Tokens of each choice. */
  readonly choices: readonly (readonly number[])[];
}

/**
 * The log-likelihood of each choice as the answer to each question: log p of its tokens, added up. Where every
 * choice is one token, one pass over the question tells of all.
 *
 * @param features Features of all pictures of all questions.
 */
export async function choiceLikelihoods(
  vlm: Vlm,
  questions: readonly Choice[],
  features: Tensor | undefined,
): Promise<number[][]> {
  const ids: number[] = [], lengths: number[] = [], labelRows: number[] = [];
  const targets: number[] = [], imageRows: number[] = [], pictures: number[] = [];
  const owners: [question: number, choice: number][] = [];
  let before = 0;
  questions.forEach(({ prompt, choices }, question) => {
    const { ids: asked, imageRows: rows, pictureCount } = prompt;
    const together = choices.every(({ length }) => length === 1);
    for (const [i, choice] of choices.entries()) {
      if (!together || i === 0) {
        for (const row of rows) imageRows.push(ids.length + row);
        for (let p = 0; p < pictureCount; p++) pictures.push(before + p);
        ids.push(...asked, ...choice.slice(0, -1));
        lengths.push(asked.length + choice.length - 1);
      }
      choice.forEach((token, k) => {
        labelRows.push(ids.length - choice.length + k);
        targets.push(token);
        owners.push([question, i]);
      });
    }
    before += pictureCount;
  });
  const { gpu } = vlm;
  using repeated = features && gpu.detached(() => pictureRows(vlm, features, pictures));
  const losses = await rowLosses(vlm, {
    ids: Uint32Array.from(ids),
    lengths,
    labelRows: Uint32Array.from(labelRows),
    targets: Uint32Array.from(targets),
    imageRows: Uint32Array.from(imageRows),
    pictures: new Uint8Array(0),
    pictureCount: pictures.length,
    samples: lengths.length,
  }, repeated);
  const scores = questions.map(({ choices }) => choices.map(() => 0));
  owners.forEach(([question, choice], i) => (scores[question]![choice]! -= losses[i]!));
  return scores;
}

/** The features of some pictures, in the order given, as a tensor of their own. */
export function pictureRows(vlm: Vlm, features: Tensor, pictures: readonly number[]): Tensor {
  const patches = vlm.tokensPerPicture;
  const rows = pictures.flatMap((p) => Array.from({ length: patches }, (_, i) => p * patches + i));
  using scope = vlm.gpu.scope();
  return scope.keep(gatherRows(features, vlm.gpu.tensor(Uint32Array.from(rows), [rows.length])));
}

async function rowLosses(
  vlm: Vlm,
  batch: Batch,
  features: Tensor | undefined,
): Promise<Float32Array> {
  using losses = vlm.gpu.detached(() => vlm.rowLosses(batch, features));
  return await vlm.gpu.read(losses);
}
