import { join } from "@std/path";
import { requireWritable } from "../data/files.ts";
import type { LoadedBatch } from "../data/loader.ts";
import { openGpu } from "../data/open_gpu.ts";
import { tuningOf } from "../kernels/matmul/choose.ts";
import { DataError, DeviceError } from "../kernels/runtime/errors.ts";
import config from "../deno.json" with { type: "json" };
import { Checkpoints, type RunState } from "./checkpoint.ts";
import { openClipTask } from "./clip_task.ts";
import { ALONE, type Communicator } from "./communicator.ts";
import { broadcastTensors } from "./data_parallel.ts";
import { openData, type RunData } from "./open_run.ts";
import { AdamW, type Moments } from "./optimizer.ts";
import { choosePrecision, LOSS_SCALE } from "./precision.ts";
import type { ProgressReport } from "./progress.ts";
import { runName, type RunResult, type RunSettings } from "./settings.ts";
import { fixedSettings, keepKernels, meet, resume, type Start } from "./start.ts";
import type { TrainingTask } from "./task.ts";
import { Trainer, type Update } from "./trainer.ts";
import { openVlmTask } from "./vlm_task.ts";
import { RunWatch, SilentWatch, type Watch } from "./watch.ts";

/**
 * Trains a model as told, saving weights and a checkpoint at every interval and at the end.
 *
 * @param settings What to do.
 * @param report Where progress is shown.
 * @param signal Ends the run after the step in progress, with everything saved.
 * @param ranks The processes that train together, of which the first shows and writes; this one alone unless given.
 */
export async function runTraining(
  settings: RunSettings,
  report: ProgressReport,
  signal: AbortSignal,
  ranks: Communicator = ALONE,
): Promise<RunResult> {
  if (ranks.rank === 0) await requireWritable(settings.folder.out);
  await using data = await openData(settings, report, ranks);
  using gpu = await openGpu(settings.device, report.compiling, ranks.localSize);
  const precision = choosePrecision(gpu.info, settings.dtype);
  const { contrastive } = settings;
  using task = contrastive
    ? await openClipTask(gpu, { ...settings, contrastive }, data, precision, report)
    : await openVlmTask(gpu, settings, data, precision, report);
  const { model, undecayed } = task;
  const { gradClip: clip, adamw } = settings;
  const lossScale = precision === "float16" ? LOSS_SCALE : undefined;
  const shard = settings.shardOptimizer ? ranks : undefined;
  using optimizer = new AdamW(gpu, model.groups, { clip, lossScale, shard, undecayed, ...adamw });
  const folder = join(settings.folder.checkpoints, `${runName(settings)}_resume`);
  const checkpoints = new Checkpoints(folder, settings.keep);
  const fixed = await fixedSettings(settings, precision, task, data.train);
  await meet(ranks, settings, gpu, fixed, report);
  let start: Start = { epoch: 0, step: 0, updates: 0, loss: NaN };
  const moments = optimizer.moments();
  if (settings.resume && ranks.rank === 0) {
    start = await resume(checkpoints, fixed, data.train, task, optimizer, moments, report);
  }
  [start] = await ranks.gather(start) as [Start];
  start = { ...start, loss: start.loss ?? NaN }; // JSON has no NaN
  keepKernels(gpu, start, report);
  for (const parameters of model.parameterSets) {
    if (parameters.groups.length === 0) continue; // from the same files on every rank
    const tensors = parameters.specs.map(({ name }) => parameters.get(name));
    await broadcastTensors(gpu, ranks, tensors);
    parameters.refresh();
  }
  const state = moments.groups.flatMap(({ first, second }) => [first, second]);
  await broadcastTensors(gpu, ranks, [optimizer.state, ...state]);
  optimizer.takeMoments(moments);
  moments[Symbol.dispose]();
  await using watch = ranks.rank === 0
    ? await RunWatch.open(settings, report, gpu, start)
    : new SilentWatch(settings, start.loss);
  const parts = {
    settings,
    data,
    task,
    optimizer,
    checkpoints,
    fixed,
    start,
    watch,
    report,
    ranks,
  };
  using run = new TrainingRun(parts);
  try {
    return await run.train(signal);
  } catch (error) {
    const { newest } = checkpoints;
    if (newest) report.say(`The last checkpoint is ${newest}; --from_resume 1 goes on from it.`);
    throw error;
  }
}

/** What a run consists of. */
interface RunParts {
  readonly settings: RunSettings;
  readonly data: RunData;
  readonly task: TrainingTask;
  readonly optimizer: AdamW;
  readonly checkpoints: Checkpoints;
  readonly fixed: RunState["fixed"];
  readonly start: Start;
  readonly watch: Watch;
  readonly report: ProgressReport;
  readonly ranks: Communicator;
}

/** A run in progress. */
class TrainingRun implements Disposable {
  readonly #settings: RunSettings;
  readonly #data: RunData;
  readonly #task: TrainingTask;
  readonly #parts: RunParts;
  readonly #watch: Watch;
  readonly #ranks: Communicator;
  readonly #trainer: Trainer;
  #best: number;
  /** The batch of the last update, until a checkpoint holds it. */
  #unsaved: LoadedBatch | undefined;

  constructor(parts: RunParts) {
    const { settings, data, task, ranks } = parts;
    const { epochs, warmupSteps, accumulationSteps, compat, checkpointActivations } = settings;
    this.#settings = settings;
    this.#data = data;
    this.#task = task;
    this.#parts = parts;
    this.#watch = parts.watch;
    this.#ranks = ranks;
    this.#best = parts.watch.bestValidation;
    const options = {
      epochs,
      stepsPerEpoch: data.train.stepsPerEpoch,
      learningRates: task.learningRates,
      warmupSteps,
      accumulationSteps,
      compat,
      checkpointActivations,
      ranks,
      halfSums: settings.halfSums,
      localSteps: settings.localSteps,
    };
    this.#trainer = new Trainer(task.model, parts.optimizer, options, parts.start.updates);
  }

  /** Trains to the end; what was learnt before a bad row or weight is saved. */
  async train(signal: AbortSignal): Promise<RunResult> {
    try {
      return await this.#train(signal);
    } catch (error) {
      // several ranks save together, but the others do not know of the error
      if (this.#unsaved && this.#ranks.size === 1 && !(error instanceof DeviceError)) {
        await this.#save(this.#unsaved, "stopped");
      }
      throw error;
    }
  }

  async #train(signal: AbortSignal): Promise<RunResult> {
    const { epochs, maxSteps = Infinity, saveInterval, sampleEvery } = this.#settings;
    const { epoch, step, updates: begun } = this.#parts.start;
    const { stepsPerEpoch } = this.#data.train;
    const enough = begun >= maxSteps;
    let [interrupted, due] = [false, false];
    let end: RunState["state"] = enough && epoch < epochs ? "stopped" : "finished";
    for await (const placed of enough ? [] : this.#data.train.batches({ epoch, step, epochs })) {
      this.#mention(placed);
      const before = this.#trainer.updates;
      using features = await this.#task.features(placed.batch);
      const read = await this.#trainer.step({ ...placed, ...features && { features } });
      const batch = placed.step + 1;
      const { updates } = this.#trainer;
      const updated = updates > before;
      if (updated) this.#unsaved = placed;
      this.#show(read);
      const last = placed.epoch + 1 === epochs && batch === stepsPerEpoch;
      if (last && updates === 0) throw new DataError(nothingLearnt(this.#settings));
      interrupted = (await this.#ranks.sum(Float64Array.of(Number(signal.aborted))))[0]! > 0;
      const ends = last || interrupted || (updated && updates >= maxSteps);
      due ||= batch % saveInterval === 0 || batch === stepsPerEpoch || ends;
      if (updated && sampleEvery > 0 && updates % sampleEvery === 0) await this.#sample();
      // between two updates only part of a gradient is there, which no checkpoint holds
      if (!due || !(updated || last)) continue;
      due = false;
      end = last ? "finished" : ends ? "stopped" : "running";
      await this.#save(placed, end);
      await this.#validate();
      if (ends) break;
    }
    await this.#task.flush();
    return {
      updates: this.#trainer.updates,
      saved: this.#task.weights(),
      interrupted: interrupted && end !== "finished",
      report: await this.#watch.end(end === "running" ? "stopped" : end),
    };
  }

  [Symbol.dispose](): void {
    this.#trainer[Symbol.dispose]();
  }

  #mention({ epoch, step, batch }: LoadedBatch): void {
    const several = this.#ranks.size > 1;
    if (batch.labelRows.length > 0 || (several && batch.samples === 0)) return;
    const place = `epoch ${epoch + 1}, batch ${step + 1}`;
    const what = several ? "this rank's part of the batch" : "the batch";
    this.#parts.report.warn(
      `${place}: no sample has an answer to learn; ${what} is left out.`,
    );
  }

  #show(updates: readonly Update[]): void {
    const { epochs, maxSteps = Infinity } = this.#settings;
    const { start, data } = this.#parts;
    const steps = data.train.stepsPerEpoch;
    for (const { metrics, batch: step } of updates) {
      const { epoch } = metrics;
      const begun = epoch === start.epoch + 1 ? start.step : 0;
      this.#watch.update({ epoch, epochs, step, steps, begun, maxSteps }, metrics);
    }
  }

  async #sample(): Promise<void> {
    this.#show(await this.#trainer.flush());
    await this.#trainer.meet();
    if (this.#ranks.rank > 0) return;
    const { train } = this.#data;
    const said = await this.#task.answer?.(train, this.#trainer.updates);
    if (said) this.#watch.sample(said, this.#task.pictureSize);
  }

  async #save({ epoch, step }: LoadedBatch, state: RunState["state"]): Promise<void> {
    this.#unsaved = undefined;
    let bad: unknown;
    try {
      this.#show(await this.#trainer.flush());
    } catch (error) {
      [bad, state] = [error, "stopped"];
    }
    await this.#trainer.meet();
    {
      using moments = await this.#parts.optimizer.gatherMoments(this.#ranks);
      if (this.#ranks.rank === 0) await this.#write(epoch, step, state, moments);
    }
    if (bad) throw bad;
  }

  async #write(
    epoch: number,
    step: number,
    state: RunState["state"],
    moments: Moments,
  ): Promise<void> {
    const { gpu } = this.#task.model;
    const { checkpoints, fixed, optimizer } = this.#parts;
    const { command: [command = "", ...args], batchSize } = this.#settings;
    const done = step + 1 === this.#data.train.stepsPerEpoch;
    const { loss, lossScale } = this.#watch;
    const tuning = tuningOf(gpu);
    using _scope = gpu.scope();
    await checkpoints.save(gpu, {
      version: config.version,
      command,
      arguments: args,
      epoch: done ? epoch + 1 : epoch,
      step: done ? 0 : step + 1,
      samples: done ? 0 : (step + 1) * batchSize * this.#ranks.size,
      updates: this.#trainer.updates,
      loss,
      state,
      saved_at: new Date().toISOString(),
      weights: this.#task.weights(),
      fixed,
      kernels: { adapter: gpu.info.name, ...tuning && { tuning } },
      trainer: lossScale === undefined ? {} : { loss_scale: lossScale },
    }, optimizer.tensors(moments));
    await this.#task.save();
  }

  async #validate(): Promise<void> {
    if (!this.#data.validation) return;
    const result = await this.#task.validate(this.#data.validation, this.#ranks);
    this.#watch.validation(this.#trainer.updates, result);
    if (!(result.val_loss < this.#best)) return; // nor is NaN the best
    this.#best = result.val_loss;
    if (this.#ranks.rank === 0) await this.#task.save("_best");
  }
}

/** Why a run ended without an update; saved, it would put untrained weights in the place of others. */
function nothingLearnt({ dataPath, compat, accumulationSteps }: RunSettings): string {
  return `Nothing was learnt of ${dataPath}, and nothing is saved: no sample has an answer to learn` +
    `${compat && accumulationSteps > 1 ? ", or --accumulation_steps waits for more batches" : ""}.`;
}
