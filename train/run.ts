import { join } from "@std/path";
import type { LoadedBatch, Loader } from "../data/loader.ts";
import { loadStrictly, saveVlm } from "../data/vlm_files.ts";
import { DeviceError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import type { Vlm } from "../model/vlm.ts";
import config from "../deno.json" with { type: "json" };
import { answer } from "./answers.ts";
import { Checkpoints, requireSame, type RunState } from "./checkpoint.ts";
import type { FeatureCache } from "./feature_cache.ts";
import { dataFingerprint } from "./fingerprint.ts";
import { openFeatureCache } from "./open_feature_cache.ts";
import { openData, openVlm, type RunData } from "./open_run.ts";
import { AdamW } from "./optimizer.ts";
import { openOriginalResume } from "./original_resume.ts";
import { choosePrecision, LOSS_SCALE } from "./precision.ts";
import type { ProgressReport } from "./progress.ts";
import { runName, type RunResult, type RunSettings, weightPath } from "./settings.ts";
import { Trainer, type Update } from "./trainer.ts";
import { validate } from "./validation.ts";
import { RunWatch } from "./watch.ts";

/**
 * Trains a model as told, saving weights and a checkpoint at every interval and at the end.
 *
 * @param settings What to do.
 * @param report Where progress is shown.
 * @param signal Ends the run after the step in progress, with everything saved.
 */
export async function runTraining(
  settings: RunSettings,
  report: ProgressReport,
  signal: AbortSignal,
): Promise<RunResult> {
  await using data = await openData(settings, report);
  using gpu = await Gpu.open(settings.device);
  if (gpu.info.software) gpu.onKernel = (name, count) => report.compiling(name, count);
  const precision = choosePrecision(gpu.info, settings.dtype);
  using vlm = await openVlm(gpu, settings, data.tokenizer, precision, report);
  const { gradClip: clip, adamw } = settings;
  const lossScale = precision === "float16" ? LOSS_SCALE : undefined;
  using optimizer = new AdamW(gpu, vlm.groups, { clip, lossScale, ...adamw });
  const folder = join(settings.folder.checkpoints, `${runName(settings)}_resume`);
  const checkpoints = new Checkpoints(folder, settings.keep);
  const fixed = await fixedSettings(settings, precision, vlm, data.train);
  const start = settings.resume
    ? await resume(checkpoints, fixed, data.train, vlm, optimizer, report)
    : { epoch: 0, step: 0, updates: 0, loss: NaN };
  using cache = await openFeatureCache(settings, vlm, precision, data, report);
  await using watch = await RunWatch.open(settings, report, gpu, start);
  using run = new TrainingRun(
    settings,
    data,
    vlm,
    optimizer,
    checkpoints,
    fixed,
    start,
    watch,
    cache,
  );
  try {
    return await run.train(signal);
  } catch (error) {
    const { newest } = checkpoints;
    if (newest) report.say(`The last checkpoint is ${newest}; --from_resume 1 goes on from it.`);
    throw error;
  }
}

/** A run in progress. */
class TrainingRun implements Disposable {
  readonly #settings: RunSettings;
  readonly #data: RunData;
  readonly #vlm: Vlm;
  readonly #optimizer: AdamW;
  readonly #checkpoints: Checkpoints;
  readonly #fixed: RunState["fixed"];
  readonly #start: Start;
  readonly #watch: RunWatch;
  readonly #cache: FeatureCache | undefined;
  readonly #trainer: Trainer;
  #best: number;
  /** The batch of the last update, until a checkpoint holds it. */
  #unsaved: LoadedBatch | undefined;

  constructor(
    settings: RunSettings,
    data: RunData,
    vlm: Vlm,
    optimizer: AdamW,
    checkpoints: Checkpoints,
    fixed: RunState["fixed"],
    start: Start,
    watch: RunWatch,
    cache: FeatureCache | undefined,
  ) {
    const { learningRate: language, projectorLearningRate: projector = language } = settings;
    const { visionLearningRate: vision = language } = settings;
    const { epochs, warmupSteps, accumulationSteps, compat } = settings;
    this.#settings = settings;
    this.#data = data;
    this.#vlm = vlm;
    this.#optimizer = optimizer;
    this.#checkpoints = checkpoints;
    this.#fixed = fixed;
    this.#start = start;
    this.#watch = watch;
    this.#cache = cache;
    this.#best = watch.bestValidation;
    const options = {
      epochs,
      stepsPerEpoch: data.train.stepsPerEpoch,
      learningRates: { projector, language, vision },
      warmupSteps,
      accumulationSteps,
      compat,
    };
    this.#trainer = new Trainer(vlm, optimizer, options, start.updates);
  }

  /** Trains to the end; what was learnt before a bad row or weight is saved. */
  async train(signal: AbortSignal): Promise<RunResult> {
    try {
      return await this.#train(signal);
    } catch (error) {
      if (this.#unsaved && !(error instanceof DeviceError)) {
        await this.#save(this.#unsaved, "stopped");
      }
      throw error;
    }
  }

  async #train(signal: AbortSignal): Promise<RunResult> {
    const { epochs, maxSteps = Infinity, saveInterval, sampleEvery } = this.#settings;
    const { epoch, step } = this.#start;
    const { stepsPerEpoch } = this.#data.train;
    let [interrupted, due] = [false, false];
    let end: RunState["state"] = "finished";
    for await (const placed of this.#data.train.batches({ epoch, step, epochs })) {
      this.#mention(placed);
      const before = this.#trainer.updates;
      using features = await this.#cache?.features(placed.batch);
      const read = await this.#trainer.step({ ...placed, ...features && { features } });
      const batch = placed.step + 1;
      const { updates } = this.#trainer;
      const updated = updates > before;
      if (updated) this.#unsaved = placed;
      this.#show(read);
      const last = placed.epoch + 1 === epochs && batch === stepsPerEpoch;
      interrupted = signal.aborted;
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
    await this.#cache?.flush();
    return {
      updates: this.#trainer.updates,
      saved: this.#weights(),
      interrupted: interrupted && end !== "finished",
      report: await this.#watch.end(end === "running" ? "stopped" : end),
    };
  }

  [Symbol.dispose](): void {
    this.#trainer[Symbol.dispose]();
  }

  #weights(kind = ""): string {
    const { folder, saveWeight } = this.#settings;
    const { hidden_size, use_moe } = this.#vlm.config.language;
    return weightPath(folder.out, saveWeight + kind, hidden_size, use_moe);
  }

  #mention({ epoch, step, batch }: LoadedBatch): void {
    if (batch.labelRows.length > 0) return;
    const place = `epoch ${epoch + 1}, batch ${step + 1}`;
    this.#watch.say(`${place}: no sample has an answer to learn; the batch is left out.`);
  }

  #show(updates: readonly Update[]): void {
    const { epochs } = this.#settings;
    const steps = this.#data.train.stepsPerEpoch;
    for (const { metrics, batch } of updates) {
      this.#watch.update({ epoch: metrics.epoch, epochs, step: batch, steps }, metrics);
    }
  }

  async #sample(): Promise<void> {
    this.#show(await this.#trainer.flush());
    const sample = await this.#data.train.sample(0).catch(() => undefined);
    const { updates } = this.#trainer;
    const said = sample && await answer(this.#vlm, this.#data.tokenizer, sample, updates);
    if (said) this.#watch.sample(said, this.#vlm.config.vision?.image_size ?? 0);
  }

  async #save({ epoch, step }: LoadedBatch, state: RunState["state"]): Promise<void> {
    this.#unsaved = undefined;
    const { gpu } = this.#vlm;
    let bad: unknown;
    try {
      this.#show(await this.#trainer.flush());
    } catch (error) {
      [bad, state] = [error, "stopped"];
    }
    const done = step + 1 === this.#data.train.stepsPerEpoch;
    const [command = "", ...args] = this.#settings.command;
    const { loss, lossScale } = this.#watch;
    using _scope = gpu.scope();
    await this.#checkpoints.save(gpu, {
      version: config.version,
      command,
      arguments: args,
      epoch: done ? epoch + 1 : epoch,
      step: done ? 0 : step + 1,
      updates: this.#trainer.updates,
      loss,
      state,
      saved_at: new Date().toISOString(),
      weights: this.#weights(),
      fixed: this.#fixed,
      trainer: lossScale === undefined ? {} : { loss_scale: lossScale },
    }, this.#optimizer.tensors());
    await saveVlm(this.#vlm, this.#weights());
    if (bad) throw bad;
  }

  async #validate(): Promise<void> {
    if (!this.#data.validation) return;
    const result = await validate(this.#vlm, this.#data.validation, this.#cache);
    this.#watch.validation(this.#trainer.updates, result);
    if (result.val_loss >= this.#best) return;
    this.#best = result.val_loss;
    await saveVlm(this.#vlm, this.#weights("_best"));
  }
}

/** Where a run begins. */
type Start = Pick<RunState, "epoch" | "step" | "updates" | "loss">;

/** Loads the newest checkpoint, or else what the original left, or says that there is neither. */
async function resume(
  checkpoints: Checkpoints,
  fixed: RunState["fixed"],
  { stepsPerEpoch }: Loader,
  { gpu, parameters }: Vlm,
  optimizer: AdamW,
  report: ProgressReport,
): Promise<Start> {
  const said = (path: string, { epoch, step, updates }: Omit<Start, "loss">) =>
    report.say(
      `Continuing ${path}: epoch ${epoch + 1}, batch ${step + 1}, ${updates} updates done.`,
    );
  const latest = await checkpoints.latest();
  if (latest) {
    requireSame(latest.state.fixed, fixed, latest.path);
    using _scope = gpu.scope();
    await checkpoints.load(gpu, latest.path, optimizer.tensors());
    parameters.refresh();
    said(latest.path, latest.state);
    return latest.state;
  }
  const path = `${checkpoints.folder}.pth`;
  if (!await exists(path)) {
    report.say(`There is no checkpoint in ${checkpoints.folder}; beginning anew.`);
    return { epoch: 0, step: 0, updates: 0, loss: NaN };
  }
  await using original = await openOriginalResume(path);
  const weights = { tensors: new Map(original.weights), metadata: {} };
  await loadStrictly(parameters, weights, path);
  await optimizer.takeUp(parameters, original.moments, original.updates);
  const done = original.step >= stepsPerEpoch;
  const { updates } = original;
  const start = done
    ? { epoch: original.epoch + 1, step: 0, updates, loss: NaN }
    : { epoch: original.epoch, step: original.step, updates, loss: NaN };
  said(path, start);
  return start;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}

/** What must stay the same when a run goes on. */
async function fixedSettings(
  settings: RunSettings,
  dtype: Precision,
  { config: { language, vision } }: Vlm,
  { length }: Loader,
): Promise<RunState["fixed"]> {
  return {
    data: await dataFingerprint(settings.dataPath),
    rows: length,
    dtype,
    hidden_size: language.hidden_size,
    num_hidden_layers: language.num_hidden_layers,
    use_moe: language.use_moe,
    ...vision && {
      vision_hidden_size: vision.hidden_size,
      freeze_llm: settings.freeze,
      ...!settings.freezeVision && { freeze_vision: false },
    },
    batch_size: settings.batchSize,
    accumulation_steps: settings.accumulationSteps,
    max_seq_len: settings.maxLength,
    seed: settings.seed,
    shuffle: settings.shuffle,
  };
}
