import { startTape } from "../kernels/elementwise.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Batch } from "../model/batch.ts";
import type { Trainable } from "../model/trainable.ts";
import { ALONE, type Communicator } from "./communicator.ts";
import { averageTensors } from "./data_parallel.ts";
import { GradientSums } from "./gradient_sums.ts";
import { sumInHalf } from "./half_sum.ts";
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
  /** Whether blocks are computed again for the backward pass rather than kept; false unless given. */
  readonly checkpointActivations?: boolean;
  /** The processes that train together; this one alone unless given. */
  readonly ranks?: Communicator;
  /** Whether gradients are sent to other ranks in half precision. */
  readonly halfSums?: boolean;
  /**
   * Whether gradients are sent while the backward pass goes on. Unless given, they are but where all ranks compute on the
   * processor of one machine: there a sum only takes time from the pass.
   */
  readonly overlap?: boolean;
  /** Updates whose numbers are read at once; unless given, as many as take half a second. */
  readonly readEvery?: number;
  /** Updates that each rank makes by itself before weights are averaged; 1, the default, adds gradients up instead. */
  readonly localSteps?: number;
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

/** Seconds between two readings of losses; for each the device comes to its end, and waits for the next step. */
const READ_INTERVAL = 0.5;

/** Takes batches one after the other, updates the parameters, and tells the metrics of each update. */
export class Trainer implements Disposable {
  readonly #gpu: Gpu;
  readonly #model: Trainable;
  readonly #optimizer: AdamW;
  readonly #options: TrainerOptions;
  readonly #ranks: Communicator;
  readonly #overlap: boolean;
  #losses: Tensor[] = [];
  #auxLosses: Tensor[] = [];
  #learnt = 0;
  #tokens = 0;
  #samples = 0;
  #pending: PendingUpdate[] = [];
  #updates = 0;
  #readTime = performance.now();
  #readEvery: number;

  /** A trainer of a model whose parameters the optimizer updates, after some updates made before. */
  constructor(model: Trainable, optimizer: AdamW, options: TrainerOptions, updates = 0) {
    this.#gpu = model.gpu;
    this.#model = model;
    this.#optimizer = optimizer;
    this.#options = options;
    this.#readEvery = options.readEvery ?? 1;
    this.#ranks = options.ranks ?? ALONE;
    const { size, localSize } = this.#ranks;
    this.#overlap = options.overlap ?? !(model.gpu.info.software && size === localSize);
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
    const own = { labels: labelRows.length, sequences: lengths.length };
    const [labels = 0, sequences = 0, tokens = 0, samples = 0] = await this.#ranks.sum(
      Float64Array.of(labelRows.length, lengths.length, ids.length, batch.samples),
    );
    const updates = this.#isUpdate(step) && this.#learnt + labels > 0;
    using sums = updates && this.#ranks.size > 1 && !this.#local ? this.#gradientSums() : undefined;
    if (labelRows.length > 0) {
      using scope = this.#gpu.scope();
      using tape = startTape(this.#gpu, this.#options.checkpointActivations);
      const share = 1 / this.#microBatches(step);
      const whole = this.#local ? own : { labels, sequences };
      const { loss, auxLoss } = this.#model.losses(batch, share, features, whole);
      this.#losses.push(scope.release(loss));
      if (auxLoss) this.#auxLosses.push(scope.release(auxLoss));
      using seed = this.#optimizer.seed();
      const parameters = tape.play(auxLoss ? [loss, auxLoss] : [loss], seed);
      for (const parameter of parameters) if (this.#overlap) await sums?.complete(parameter);
    }
    if (labels > 0) {
      this.#learnt++;
      this.#tokens += tokens;
      this.#samples += samples;
    }
    await sums?.finish();
    if (updates) await this.#update(epoch, step);
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
    const { size } = this.#ranks;
    const now = performance.now();
    const sums = new Float64Array(4 * pending.length + 1);
    const add = (parts: readonly Tensor[]): number =>
      values.splice(0, parts.length).reduce((sum, [part]) => sum + part!, 0);
    pending.forEach(({ metrics, losses, auxLosses, learnt }, i) => {
      // in place of a sum over ranks, local losses are averaged over the batches that had any
      const parts = this.#local ? losses.length : learnt / size;
      const mean = [add(losses), add(auxLosses)] as const;
      const { norm, lossScale } = AdamW.outcome(values.shift()!);
      sums.set([...mean, norm / size, parts], 4 * i);
      if (lossScale > 0) metrics.loss_scale = lossScale;
    });
    sums[4 * pending.length] = (now - this.#readTime) / 1000 / Math.max(1, pending.length);
    this.#readTime = now;
    await this.#ranks.sum(sums);
    const perUpdate = sums.at(-1)! / size;
    this.#readEvery = this.#options.readEvery ??
      Math.min(64, Math.max(1, Math.floor(READ_INTERVAL / perUpdate)));
    return pending.map(({ metrics, batch, microBatches }, i) => {
      const [loss = NaN, auxLoss = NaN, norm = NaN, parts = NaN] = sums.subarray(4 * i, 4 * i + 4);
      metrics.seconds = perUpdate; // only the reading waits for the device
      metrics.loss = loss * microBatches / parts;
      metrics.aux_loss = auxLoss * microBatches / parts;
      metrics.grad_norm = norm;
      return { metrics, batch };
    });
  }

  /** Brings the ranks to one state where each has learnt by itself since they last met. */
  async meet(): Promise<void> {
    if (!this.#local) return;
    await this.#average();
    const { groups } = this.#optimizer.moments();
    const moments = groups.flatMap(({ first, second }) => [first, second]);
    await averageTensors(this.#gpu, this.#ranks, [...moments, this.#optimizer.state]);
  }

  /** Whether ranks update their weights by themselves for some steps. */
  get #local(): boolean {
    return this.#ranks.size > 1 && (this.#options.localSteps ?? 1) > 1;
  }

  #gradientSums(): GradientSums {
    const sum = this.#options.halfSums
      ? (values: Float32Array<ArrayBuffer>) => sumInHalf(this.#ranks, values)
      : undefined;
    return new GradientSums(this.#gpu, this.#ranks, this.#model.groups, sum);
  }

  async #average(): Promise<void> {
    const values = this.#model.groups.map(({ values }) => values);
    await averageTensors(this.#gpu, this.#ranks, values);
    for (const parameters of this.#model.parameterSets) parameters.refresh();
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
    const { epochs, stepsPerEpoch, learningRates, warmupSteps } = this.#options;
    const at = epoch * stepsPerEpoch + step + 1;
    const rates = Object.fromEntries(
      Object.entries(learningRates).map(([group, rate]) => [
        group,
        learningRate(at, epochs * stepsPerEpoch, rate, warmupSteps),
      ]),
    );
    const outcome = this.#optimizer.step(rates);
    await this.#optimizer.gatherValues(this.#ranks);
    if (this.#local && (this.#updates + 1) % this.#options.localSteps! === 0) await this.#average();
    this.#model.constrain?.();
    for (const parameters of this.#model.parameterSets) parameters.zeroGradients();
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
    this.#pending.push({
      metrics,
      batch: step + 1,
      losses: this.#losses,
      auxLosses: this.#auxLosses,
      outcome,
      microBatches: this.#microBatches(step),
      learnt: this.#learnt,
    });
    [this.#losses, this.#auxLosses] = [[], []];
    this.#learnt = this.#tokens = this.#samples = 0;
  }
}
