import { backward, startTape } from "../kernels/elementwise.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Batch } from "../model/batch.ts";
import type { Vlm } from "../model/vlm.ts";
import { ALONE, type Communicator } from "./communicator.ts";
import { fillGradients, sumTensors } from "./data_parallel.ts";
import type { StepMetrics } from "./metrics.ts";
import { AdamW } from "./optimizer.ts";
import { learningRate } from "./schedule.ts";

/** How the trainer steps. */
export interface TrainerOptions {
  /** Passes over the data. */
  readonly epochs: number;
  /** Batches of an epoch. */
  readonly stepsPerEpoch: number;
  /** Learning rate of each group of parameters. */
  readonly learningRates: Readonly<Record<string, number>>;
  /** Micro-steps over which the learning rate rises. */
  readonly warmupSteps: number;
  /** Batches whose gradients are averaged for one update. */
  readonly accumulationSteps: number;
  /** Whether updates fall where the original has them: when (step + 1) divides, its tail left over. */
  readonly compat: boolean;
  /** The processes that train together; this one alone unless given. */
  readonly ranks?: Communicator;
}

/** A batch with its place in the run. */
export interface PlacedBatch {
  /** Epoch, from 0. */
  readonly epoch: number;
  /** Batch within the epoch, from 0. */
  readonly step: number;
  /** What to learn. */
  readonly batch: Batch;
  /** Features of its pictures, when they are known already. */
  readonly features?: Tensor;
}

/** An update of the parameters. */
export interface Update {
  /** Its numbers. */
  readonly metrics: StepMetrics;
  /** The batch within the epoch after which it came, from 1. */
  readonly batch: number;
}

/** An update whose numbers are still on the device. */
interface PendingUpdate extends Update {
  losses: Tensor[];
  auxLosses: Tensor[];
  outcome: Tensor;
  /** The number by which each loss has been divided. */
  microBatches: number;
  /** Batches in which there was something to learn. */
  learnt: number;
}

/** Seconds between two readings of losses; a reading stops the device for some 10 ms. */
const READ_INTERVAL = 0.5;

/** Takes batches one after the other, updates the parameters, and tells the metrics of each update. */
export class Trainer implements Disposable {
  readonly #gpu: Gpu;
  readonly #vlm: Vlm;
  readonly #optimizer: AdamW;
  readonly #options: TrainerOptions;
  readonly #ranks: Communicator;
  #losses: Tensor[] = [];
  #auxLosses: Tensor[] = [];
  #learnt = 0;
  #tokens = 0;
  #samples = 0;
  #pending: PendingUpdate[] = [];
  #updates = 0;
  #updateTime = performance.now();
  #readTime = performance.now();
  #readEvery = 1;

  /** A trainer of a model whose parameters the optimizer updates, after some updates made before. */
  constructor(vlm: Vlm, optimizer: AdamW, options: TrainerOptions, updates = 0) {
    this.#gpu = vlm.gpu;
    this.#vlm = vlm;
    this.#optimizer = optimizer;
    this.#options = options;
    this.#ranks = options.ranks ?? ALONE;
    this.#updates = updates;
  }

  /** Updates so far. */
  get updates(): number {
    return this.#updates;
  }

  /**
   * Learns from one batch, of which every rank has a part. Returns the metrics of the updates whose numbers have been read meanwhile, oldest first;
   * they come late, since reading them stops the device.
   */
  async step({ epoch, step, batch, features }: PlacedBatch): Promise<Update[]> {
    const { labelRows, lengths, ids } = batch;
    const [labels = 0, sequences = 0, tokens = 0, samples = 0] = await this.#ranks.sum(
      Float64Array.of(labelRows.length, lengths.length, ids.length, batch.samples),
    );
    if (labelRows.length > 0) {
      using scope = this.#gpu.scope();
      using tape = startTape(this.#gpu);
      const share = 1 / this.#microBatches(step);
      const { loss, auxLoss } = this.#vlm.losses(batch, share, features, { labels, sequences });
      this.#losses.push(scope.release(loss));
      if (auxLoss) this.#auxLosses.push(scope.release(auxLoss));
      backward(tape, loss, ...auxLoss ? [auxLoss] : []);
    }
    if (labels > 0) {
      this.#learnt++;
      this.#tokens += tokens;
      this.#samples += samples;
    }
    if (this.#isUpdate(step) && this.#learnt > 0) await this.#update(epoch, step);
    this.#gpu.submit();
    return this.#pending.length >= this.#readEvery ? await this.flush() : [];
  }

  /** Reads the numbers of all updates so far. */
  async flush(): Promise<Update[]> {
    const pending = this.#pending.splice(0);
    const tensors = pending.flatMap(({ losses, auxLosses, outcome }) => [
      ...losses,
      ...auxLosses,
      outcome,
    ]);
    const values = (await this.#gpu.readAll(tensors)).map((bytes) => new Float32Array(bytes));
    for (const tensor of tensors) tensor.dispose();
    const now = performance.now();
    const sums = new Float64Array(2 * pending.length + 1);
    const add = (parts: readonly Tensor[]): number =>
      values.splice(0, parts.length).reduce((sum, [part]) => sum + part!, 0);
    pending.forEach(({ metrics, losses, auxLosses }, i) => {
      sums[2 * i] = add(losses);
      sums[2 * i + 1] = add(auxLosses);
      metrics.grad_norm = AdamW.outcome(values.shift()!).norm;
    });
    sums[2 * pending.length] = (now - this.#readTime) / 1000 / Math.max(1, pending.length);
    this.#readTime = now;
    await this.#ranks.sum(sums);
    const perUpdate = sums.at(-1)! / this.#ranks.size;
    this.#readEvery = Math.min(64, Math.max(1, Math.floor(READ_INTERVAL / perUpdate)));
    return pending.map(({ metrics, batch, microBatches, learnt }, i) => {
      metrics.loss = sums[2 * i]! * microBatches / learnt;
      metrics.aux_loss = sums[2 * i + 1]! * microBatches / learnt;
      return { metrics, batch };
    });
  }

  /** Frees what it holds. */
  [Symbol.dispose](): void {
    for (const { losses, auxLosses, outcome } of this.#pending) {
      [...losses, ...auxLosses, outcome].forEach((t) => t.dispose());
    }
    for (const loss of [...this.#losses, ...this.#auxLosses]) loss.dispose();
  }

  /** Whether the parameters are updated after a batch, counted from 0. */
  #isUpdate(step: number): boolean {
    const { accumulationSteps, compat, stepsPerEpoch } = this.#options;
    if (compat) return (step + 2) % accumulationSteps === 0;
    return (step + 1) % accumulationSteps === 0 || step + 1 === stepsPerEpoch;
  }

  /** Batches that share the update to which a batch belongs; the last update of an epoch may have fewer. */
  #microBatches(step: number): number {
    const { accumulationSteps, compat, stepsPerEpoch } = this.#options;
    const before = step - step % accumulationSteps;
    return compat ? accumulationSteps : Math.min(accumulationSteps, stepsPerEpoch - before);
  }

  async #update(epoch: number, step: number): Promise<void> {
    const groups = [...this.#vlm.parameters.groups, ...this.#vlm.visionParameters.groups];
    fillGradients(this.#gpu, groups);
    await sumTensors(this.#gpu, this.#ranks, groups.map(({ gradients }) => gradients));
    const { epochs, stepsPerEpoch, learningRates, warmupSteps } = this.#options;
    const at = epoch * stepsPerEpoch + step + 1;
    const rates = Object.fromEntries(
      Object.entries(learningRates).map(([group, rate]) => [
        group,
        learningRate(at, epochs * stepsPerEpoch, rate, warmupSteps),
      ]),
    );
    const outcome = this.#optimizer.step(rates);
    this.#vlm.parameters.zeroGradients();
    this.#vlm.visionParameters.zeroGradients();
    const now = performance.now();
    const metrics: StepMetrics = {
      step: ++this.#updates,
      epoch: epoch + 1,
      loss: NaN,
      aux_loss: 0,
      lr: Math.max(...Object.values(rates)),
      grad_norm: NaN,
      tokens: this.#tokens,
      samples: this.#samples,
      seconds: (now - this.#updateTime) / 1000,
    };
    this.#pending.push({
      metrics,
      batch: step + 1,
      losses: this.#losses,
      auxLosses: this.#auxLosses,
      outcome,
      microBatches: this.#microBatches(step),
      learnt: this.#learnt,
    });
    this.#updateTime = now;
    [this.#losses, this.#auxLosses] = [[], []];
    this.#learnt = this.#tokens = this.#samples = 0;
  }
}
