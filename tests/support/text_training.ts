import type { Precision } from "../../kernels/runtime/precision.ts";
import { type Batch, packSamples } from "../../model/batch.ts";
import type { Vlm } from "../../model/vlm.ts";
import type { StepMetrics } from "../../train/metrics.ts";
import { AdamW } from "../../train/optimizer.ts";
import { LOSS_SCALE } from "../../train/precision.ts";
import { Trainer } from "../../train/trainer.ts";
import { seeded } from "./seeded.ts";

/** Sequences in which the next token follows from the one before, but for a share of them that is drawn. */
export function textBatch(name: string, sequences: number, length: number, drawn: number): Batch {
  const { float } = seeded(name);
  const samples = Array.from({ length: sequences }, (_, index) => {
    const ids = [Math.floor(float() * 97)];
    while (ids.length < length) {
      ids.push(float() < drawn ? Math.floor(float() * 97) : (7 * ids.at(-1)! + 3) % 97);
    }
    const mask = new Uint8Array(length).fill(1);
    return { index, ids: Uint32Array.from(ids), mask, pictureStarts: [], pictures: [] };
  });
  return packSamples(samples, 196);
}

/** How `train` trains. */
export interface Training {
  readonly rate: number;
  readonly steps: number;
  readonly lossScale?: number;
}

/** Trains on batches in turn until a loss is below `until`, and gives each update's numbers. */
export async function train(
  vlm: Vlm,
  batches: readonly Batch[],
  { rate, steps, lossScale = LOSS_SCALE }: Training,
  precision: Precision,
  until = 0,
): Promise<StepMetrics[]> {
  const scale = precision === "float16" ? lossScale : undefined;
  using optimizer = new AdamW(vlm.gpu, vlm.parameters.groups, { clip: 1, lossScale: scale });
  using trainer = new Trainer(vlm, optimizer, {
    epochs: 1,
    stepsPerEpoch: steps,
    learningRates: { projector: rate, language: rate },
    warmupSteps: 0,
    accumulationSteps: 1,
    compat: false,
  });
  const all: StepMetrics[] = [];
  for (let step = 0; step < steps && !(all.at(-1)! && all.at(-1)!.loss < until); step++) {
    const batch = batches[step % batches.length]!;
    all.push(...(await trainer.step({ epoch: 0, step, batch })).map(({ metrics }) => metrics));
  }
  return [...all, ...(await trainer.flush()).map(({ metrics }) => metrics)];
}
