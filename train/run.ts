import { join } from "@std/path";
import type { LoadedBatch, Loader } from "../data/loader.ts";
import { loadStrictly, saveVlm } from "../data/vlm_files.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import type { Vlm } from "../model/vlm.ts";
import config from "../deno.json" with { type: "json" };
import { Checkpoints, requireSame, type RunState } from "./checkpoint.ts";
import { dataFingerprint } from "./fingerprint.ts";
import { Guards } from "./guards.ts";
import { MetricsFile } from "./metrics.ts";
import { openLoader, openVlm } from "./open_run.ts";
import { AdamW } from "./optimizer.ts";
import { openOriginalResume } from "./original_resume.ts";
import type { ProgressReport } from "./progress.ts";
import { runName, type RunResult, type RunSettings, weightPath } from "./settings.ts";
import { Trainer, type Update } from "./trainer.ts";

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
  await using loader = await openLoader(settings, report);
  using gpu = await Gpu.open(settings.device);
  using vlm = await openVlm(gpu, settings, report);
  const { gradClip: clip, adamw } = settings;
  using optimizer = new AdamW(gpu, vlm.parameters.groups, { clip, ...adamw });
  using run = await TrainingRun.open(settings, report, loader, vlm, optimizer);
  return await run.train(signal);
}

/** A run in progress. */
class TrainingRun implements Disposable {
  readonly #settings: RunSettings;
  readonly #report: ProgressReport;
  readonly #loader: Loader;
  readonly #vlm: Vlm;
  readonly #optimizer: AdamW;
  readonly #trainer: Trainer;
  readonly #metrics: MetricsFile;
  readonly #guards: Guards;
  readonly #checkpoints: Checkpoints;
  readonly #fixed: RunState["fixed"];
  readonly #start: Start;
  readonly #weights: string;
  #loss = NaN;

  static async open(
    settings: RunSettings,
    report: ProgressReport,
    loader: Loader,
    vlm: Vlm,
    optimizer: AdamW,
  ): Promise<TrainingRun> {
    const folder = join(settings.folder.checkpoints, `${runName(settings)}_resume`);
    const checkpoints = new Checkpoints(folder, settings.keep);
    const fixed = await fixedSettings(settings, vlm, loader);
    const start = settings.resume
      ? await resume(settings, checkpoints, fixed, loader, vlm, optimizer, report)
      : { epoch: 0, step: 0, updates: 0, loss: NaN };
    return new TrainingRun(settings, report, loader, vlm, optimizer, checkpoints, fixed, start);
  }

  private constructor(
    settings: RunSettings,
    report: ProgressReport,
    loader: Loader,
    vlm: Vlm,
    optimizer: AdamW,
    checkpoints: Checkpoints,
    fixed: RunState["fixed"],
    start: Start,
  ) {
    const { learningRate: language, projectorLearningRate: projector = language } = settings;
    const { epochs, warmupSteps, accumulationSteps, compat } = settings;
    this.#settings = settings;
    this.#report = report;
    this.#loader = loader;
    this.#vlm = vlm;
    this.#optimizer = optimizer;
    this.#checkpoints = checkpoints;
    this.#fixed = fixed;
    this.#start = start;
    this.#loss = start.loss;
    this.#guards = new Guards(settings.maxBadSteps, (text) => report.say(text));
    const { hidden_size, use_moe } = vlm.config.language;
    this.#weights = weightPath(settings.folder.out, settings.saveWeight, hidden_size, use_moe);
    this.#metrics = new MetricsFile(settings.metrics, start.updates);
    const options = {
      epochs,
      stepsPerEpoch: loader.stepsPerEpoch,
      learningRates: { projector, language },
      warmupSteps,
      accumulationSteps,
      compat,
    };
    this.#trainer = new Trainer(vlm, optimizer, options, start.updates);
  }

  async train(signal: AbortSignal): Promise<RunResult> {
    const { epochs, maxSteps = Infinity, saveInterval } = this.#settings;
    const { stepsPerEpoch } = this.#loader;
    let interrupted = false;
    let due = false;
    for await (
      const placed of this.#loader.batches({
        epoch: this.#start.epoch,
        step: this.#start.step,
        epochs,
      })
    ) {
      this.#mention(placed);
      const before = this.#trainer.updates;
      this.#show(await this.#trainer.step(placed));
      const batch = placed.step + 1;
      const updated = this.#trainer.updates > before;
      const last = placed.epoch + 1 === epochs && batch === stepsPerEpoch;
      interrupted = signal.aborted;
      const ends = last || interrupted || (updated && this.#trainer.updates >= maxSteps);
      due ||= batch % saveInterval === 0 || batch === stepsPerEpoch || ends;
      // between two updates only part of a gradient is there, which no checkpoint holds
      if (due && (updated || last)) {
        await this.#save(placed, last ? "finished" : ends ? "stopped" : "running");
        due = false;
        if (ends) break;
      }
    }
    this.#report.end();
    const { updates } = this.#trainer;
    return { updates, saved: this.#weights, interrupted, checkpoints: this.#checkpoints.folder };
  }

  [Symbol.dispose](): void {
    this.#trainer[Symbol.dispose]();
    this.#metrics[Symbol.dispose]();
  }

  #mention({ epoch, step, batch }: LoadedBatch): void {
    if (batch.labelRows.length > 0) return;
    const place = `epoch ${epoch + 1}, batch ${step + 1}`;
    this.#report.say(`${place}: no sample has an answer to learn; the batch is left out.`);
  }

  #show(updates: readonly Update[]): void {
    const { epochs } = this.#settings;
    for (const { metrics, batch } of updates) {
      this.#metrics.write(metrics);
      const at = { epoch: metrics.epoch, epochs, step: batch, steps: this.#loader.stepsPerEpoch };
      this.#report.show(at, metrics);
      this.#loss = metrics.loss;
    }
    for (const { metrics } of updates) this.#guards.check(metrics);
  }

  async #save({ epoch, step }: LoadedBatch, state: RunState["state"]): Promise<void> {
    const updates = await this.#trainer.flush();
    const done = step + 1 === this.#loader.stepsPerEpoch;
    using _scope = this.#vlm.gpu.scope();
    const [command, ...args] = this.#settings.command;
    let bad: unknown;
    try {
      this.#show(updates);
    } catch (error) {
      [bad, state] = [error, "stopped"];
    }
    await this.#checkpoints.save(this.#vlm.gpu, {
      version: config.version,
      command: command ?? "",
      arguments: args,
      epoch: done ? epoch + 1 : epoch,
      step: done ? 0 : step + 1,
      updates: this.#trainer.updates,
      loss: this.#loss,
      state,
      saved_at: new Date().toISOString(),
      weights: this.#weights,
      fixed: this.#fixed,
      trainer: {},
    }, this.#optimizer.tensors());
    await saveVlm(this.#vlm, this.#weights);
    if (bad) throw bad;
  }
}

/** Where a run begins. */
type Start = Pick<RunState, "epoch" | "step" | "updates" | "loss">;

/** Loads the newest checkpoint, or else what the original left, or says that there is neither. */
async function resume(
  settings: RunSettings,
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
  { config: { language, vision } }: Vlm,
  { length }: Loader,
): Promise<RunState["fixed"]> {
  return {
    data: await dataFingerprint(settings.dataPath),
    rows: length,
    hidden_size: language.hidden_size,
    num_hidden_layers: language.num_hidden_layers,
    use_moe: language.use_moe,
    vision_hidden_size: vision.hidden_size,
    freeze_llm: settings.freeze,
    batch_size: settings.batchSize,
    accumulation_steps: settings.accumulationSteps,
    max_seq_len: settings.maxLength,
    seed: settings.seed,
    shuffle: settings.shuffle,
  };
}
