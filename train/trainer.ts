import { startTape } from "../kernels/elementwise.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Batch } from "../model/batch.ts";
import type { Vlm } from "../model/vlm.ts";
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
}

/** Seconds between two readings of losses; a reading stops the device for some 10 ms. */
const READ_INTERVAL = 0.5;

/** Takes batches one after the other, updates the parameters, and tells the metrics of each update. */
export class Trainer implements Disposable {
  readonly #gpu: Gpu;
  readonly #vlm: Vlm;
  readonly #optimizer: AdamW;
  readonly #options: TrainerOptions;
  #losses: Tensor[] = [];
  #auxLosses: Tensor[] = [];
  #tokens = 0;
  #samples = 0;
  #pending: PendingUpdate[] = [];
  #updates = 0;
  #readTime = performance.now();
  #readEvery = 1;

  /** A trainer of a model whose parameters the optimizer updates, after some updates made before. */
  constructor(vlm: Vlm, optimizer: AdamW, options: TrainerOptions, updates = 0) {
    this.#gpu = vlm.gpu;
    this.#vlm = vlm;
    this.#optimizer = optimizer;
    this.#options = options;
    this.#updates = updates;
  }

  /** Updates so far. */
  get updates(): number {
    return this.#updates;
  }

  /**
   * Learns from one batch. Returns the metrics of the updates whose numbers have been read meanwhile, oldest first;
   * they come late, since reading them stops the device.
   */
  async step({ epoch, step, batch, features }: PlacedBatch): Promise<Update[]> {
    if (batch.labelRows.length > 0) {
      using scope = this.#gpu.scope();
      using tape = startTape(this.#gpu);
      const { loss, auxLoss } = this.#vlm.losses(batch, 1 / this.#microBatches(step), features);
      this.#losses.push(scope.release(loss));
      if (auxLoss) this.#auxLosses.push(scope.release(auxLoss));
      using seed = this.#optimizer.seed();
      tape.backward(auxLoss ? [loss, auxLoss] : [loss], seed);
      this.#tokens += batch.ids.length;
      this.#samples += batch.samples;
    }
    if (this.#isUpdate(step) && this.#losses.length > 0) this.#update(epoch, step);
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
    const perUpdate = (now - this.#readTime) / 1000 / Math.max(1, pending.length);
    this.#readTime = now;
    this.#readEvery = Math.min(64, Math.max(1, Math.floor(READ_INTERVAL / perUpdate)));
    return pending.map(({ metrics, batch, losses, auxLosses, microBatches }) => {
      const mean = (parts: readonly Tensor[]): number => {
        const read = values.splice(0, parts.length);
        return read.reduce((sum, [part]) => sum + part!, 0) * microBatches / losses.length;
      };
      metrics.seconds = perUpdate; // only the reading waits for the device
      metrics.loss = mean(losses);
      metrics.aux_loss = mean(auxLosses);
      const { norm, lossScale } = AdamW.outcome(values.shift()!);
      metrics.grad_norm = norm;
      if (lossScale > 0) metrics.loss_scale = lossScale;
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

  #update(epoch: number, step: number): void {
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
    const metrics: StepMetrics = {
      step: ++this.#updates,
      epoch: epoch + 1,
      loss: NaN,
      aux_loss: 0,
      lr: Math.max(...Object.values(rates)),
      grad_norm: NaN,
      tokens: this.#tokens,
      samples: this.#samples,
      seconds: NaN,
    };
    const microBatches = this.#microBatches(step);
    const [losses, auxLosses] = [this.#losses, this.#auxLosses];
    this.#pending.push({ metrics, batch: step + 1, losses, auxLosses, outcome, microBatches });
    [this.#losses, this.#auxLosses] = [[], []];
    this.#tokens = this.#samples = 0;
  }
}
