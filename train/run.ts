import { join } from "@std/path";
import type { LoadedBatch, Loader } from "../data/loader.ts";
import { loadStrictly, saveVlm } from "../data/vlm_files.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import type { Vlm } from "../model/vlm.ts";
import config from "../deno.json" with { type: "json" };
import { answer } from "./answers.ts";
import { Checkpoints, requireSame, type RunState } from "./checkpoint.ts";
import { ALONE, type Communicator } from "./communicator.ts";
import { broadcastTensors, requireAgreement } from "./data_parallel.ts";
import { dataFingerprint, modelFingerprints } from "./fingerprint.ts";
import { openData, openVlm, type RunData } from "./open_run.ts";
import { AdamW, type Moments } from "./optimizer.ts";
import { openOriginalResume } from "./original_resume.ts";
import type { ProgressReport } from "./progress.ts";
import { runName, type RunResult, type RunSettings, startWeights, weightPath } from "./settings.ts";
import { Trainer, type Update } from "./trainer.ts";
import { validate } from "./validation.ts";
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
  await using data = await openData(settings, report, ranks);
  using gpu = await Gpu.open(settings.device);
  using vlm = await openVlm(gpu, settings, report);
  const { gradClip: clip, adamw } = settings;
  const shard = settings.shardOptimizer ? ranks : undefined;
  using optimizer = new AdamW(gpu, vlm.parameters.groups, { clip, shard, ...adamw });
  const folder = join(settings.folder.checkpoints, `${runName(settings)}_resume`);
  const checkpoints = new Checkpoints(folder, settings.keep);
  const fixed = await fixedSettings(settings, vlm, data.train);
  await meet(ranks, settings, vlm, fixed, report);
  let start: Start = { epoch: 0, step: 0, updates: 0, loss: NaN };
  const moments = optimizer.moments();
  if (settings.resume && ranks.rank === 0) {
    start = await resume(checkpoints, fixed, data.train, vlm, optimizer, moments, report);
  }
  [start] = await ranks.gather(start) as [Start];
  start = { ...start, loss: start.loss ?? NaN }; // JSON has no NaN
  await broadcastTensors(
    gpu,
    ranks,
    vlm.parameters.specs.map(({ name }) => vlm.parameters.get(name)),
  );
  const state = moments.groups.flatMap(({ first, second }) => [first, second]);
  await broadcastTensors(gpu, ranks, [optimizer.state, ...state]);
  optimizer.takeMoments(moments);
  moments[Symbol.dispose]();
  await using watch = ranks.rank === 0
    ? await RunWatch.open(settings, report, gpu, start)
    : new SilentWatch(settings, start.loss);
  const parts = { settings, data, vlm, optimizer, checkpoints, fixed, start, watch, report, ranks };
  using run = new TrainingRun(parts);
  return await run.train(signal);
}

/** What a run consists of. */
interface RunParts {
  readonly settings: RunSettings;
  readonly data: RunData;
  readonly vlm: Vlm;
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
  readonly #vlm: Vlm;
  readonly #parts: RunParts;
  readonly #watch: Watch;
  readonly #ranks: Communicator;
  readonly #trainer: Trainer;
  #best = Infinity;

  constructor(parts: RunParts) {
    const { settings, data, vlm, ranks } = parts;
    const { learningRate: language, projectorLearningRate: projector = language } = settings;
    const { epochs, warmupSteps, accumulationSteps, compat } = settings;
    this.#settings = settings;
    this.#data = data;
    this.#vlm = vlm;
    this.#parts = parts;
    this.#watch = parts.watch;
    this.#ranks = ranks;
    const options = {
      epochs,
      stepsPerEpoch: data.train.stepsPerEpoch,
      learningRates: { projector, language },
      warmupSteps,
      accumulationSteps,
      compat,
      ranks,
      halfSums: settings.halfSums,
      localSteps: settings.localSteps,
    };
    this.#trainer = new Trainer(vlm, parts.optimizer, options, parts.start.updates);
  }

  async train(signal: AbortSignal): Promise<RunResult> {
    const { epochs, maxSteps = Infinity, saveInterval, sampleEvery } = this.#settings;
    const { epoch, step } = this.#parts.start;
    const { stepsPerEpoch } = this.#data.train;
    let [interrupted, due] = [false, false];
    let end: RunState["state"] = "finished";
    for await (const placed of this.#data.train.batches({ epoch, step, epochs })) {
      this.#mention(placed);
      const before = this.#trainer.updates;
      this.#show(await this.#trainer.step(placed));
      const batch = placed.step + 1;
      const { updates } = this.#trainer;
      const updated = updates > before;
      const last = placed.epoch + 1 === epochs && batch === stepsPerEpoch;
      interrupted = (await this.#ranks.sum(Float64Array.of(Number(signal.aborted))))[0]! > 0;
      const ends = last || interrupted || (updated && updates >= maxSteps);
      due ||= batch % saveInterval === 0 || batch === stepsPerEpoch || ends;
      if (updated && sampleEvery > 0 && updates % sampleEvery === 0) await this.#sample();
      // between two updates only part of a gradient is there, which no checkpoint holds
      if (!due || !(updated || last)) continue;
      due = false;
      end = last ? "finished" : ends ? "stopped" : "running";
      await this.#save(placed, end);
      if (ends) break;
    }
    return {
      updates: this.#trainer.updates,
      saved: this.#weights(),
      interrupted,
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
    const several = this.#ranks.size > 1;
    if (batch.labelRows.length > 0 || (several && batch.samples === 0)) return;
    const place = `epoch ${epoch + 1}, batch ${step + 1}`;
    const what = several ? "this rank's part of the batch" : "the batch";
    this.#parts.report.warn(
      `${place}: no sample has an answer to learn; ${what} is left out.`,
    );
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
    await this.#trainer.meet();
    if (this.#ranks.rank > 0) return;
    const sample = await this.#data.train.sample(0).catch(() => undefined);
    const { updates } = this.#trainer;
    const said = sample && await answer(this.#vlm, this.#data.tokenizer, sample, updates);
    if (said) this.#watch.sample(said, this.#vlm.config.vision.image_size);
  }

  async #save({ epoch, step }: LoadedBatch, state: RunState["state"]): Promise<void> {
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
    if (!this.#data.validation) return;
    const result = await validate(this.#vlm, this.#data.validation, this.#ranks);
    this.#watch.validation(this.#trainer.updates, result);
    if (result.val_loss >= this.#best) return;
    this.#best = result.val_loss;
    if (this.#ranks.rank === 0) await saveVlm(this.#vlm, this.#weights("_best"));
  }

  async #write(
    epoch: number,
    step: number,
    state: RunState["state"],
    moments: Moments,
  ): Promise<void> {
    const { gpu } = this.#vlm;
    const { checkpoints, fixed, optimizer } = this.#parts;
    const { command: [command = "", ...args], batchSize } = this.#settings;
    const done = step + 1 === this.#data.train.stepsPerEpoch;
    using _scope = gpu.scope();
    await checkpoints.save(gpu, {
      version: config.version,
      command,
      arguments: args,
      epoch: done ? epoch + 1 : epoch,
      step: done ? 0 : step + 1,
      samples: done ? 0 : (step + 1) * batchSize * this.#ranks.size,
      updates: this.#trainer.updates,
      loss: this.#watch.loss,
      state,
      saved_at: new Date().toISOString(),
      weights: this.#weights(),
      fixed,
      trainer: {},
    }, optimizer.tensors(moments));
    await saveVlm(this.#vlm, this.#weights());
  }
}

/** Where a run begins. */
type Start = Pick<RunState, "epoch" | "step" | "updates" | "loss">;

/** Loads the newest checkpoint, or else what the original left, or says that there is neither. */
async function resume(
  checkpoints: Checkpoints,
  fixed: RunState["fixed"],
  { stepsPerEpoch, batchSize }: Loader,
  { gpu, parameters }: Vlm,
  optimizer: AdamW,
  moments: Moments,
  report: ProgressReport,
): Promise<Start> {
  const said = (path: string, { epoch, step, updates }: Omit<Start, "loss">) =>
    report.say(
      `Continuing ${path}: epoch ${epoch + 1}, batch ${step + 1}, ${updates} updates done.`,
    );
  const latest = await checkpoints.latest();
  if (latest) {
    requireSame(latest.state.fixed, fixed, latest.path);
    const { epoch, samples, updates, loss } = latest.state;
    const start = { epoch, step: samples / batchSize, updates, loss };
    if (!Number.isInteger(start.step)) {
      throw new GlimpseError(
        `${latest.path} stands after ${samples} samples of an epoch, which are no whole number of batches of ` +
          `${batchSize} samples (--batch_size times ranks). Choose a size that divides them.`,
      );
    }
    using _scope = gpu.scope();
    await checkpoints.load(gpu, latest.path, optimizer.tensors(moments));
    said(latest.path, start);
    return start;
  }
  const path = `${checkpoints.folder}.pth`;
  if (!await exists(path)) {
    report.say(`There is no checkpoint in ${checkpoints.folder}; beginning anew.`);
    return { epoch: 0, step: 0, updates: 0, loss: NaN };
  }
  await using original = await openOriginalResume(path);
  const weights = { tensors: new Map(original.weights), metadata: {} };
  await loadStrictly(parameters, weights, path);
  await optimizer.takeUp(parameters, original.moments, original.updates, moments);
  const done = original.step >= stepsPerEpoch;
  const { updates } = original;
  const start = done
    ? { epoch: original.epoch + 1, step: 0, updates, loss: NaN }
    : { epoch: original.epoch, step: original.step, updates, loss: NaN };
  said(path, start);
  return start;
}

/** Brings the ranks together: what they must agree on, and who they are. */
async function meet(
  ranks: Communicator,
  settings: RunSettings,
  { gpu }: Vlm,
  fixed: RunState["fixed"],
  report: ProgressReport,
): Promise<void> {
  if (ranks.size === 1) return;
  // where files lie and how fast they are read is each machine's own affair
  const {
    folder,
    dataPath: _1,
    imagesPath: _2,
    device: _3,
    workers: _4,
    command: _5,
    metrics: _6,
    ...same
  } = settings;
  const files = await modelFingerprints(folder, startWeights(settings));
  await requireAgreement(ranks, { version: config.version, ...fixed, ...files, ...same });
  const all = await ranks.gather({ host: ranks.host, local: ranks.localRank, name: gpu.info.name });
  all.forEach(({ host, local, name }, rank) =>
    report.say(`rank ${rank} of ${ranks.size}: ${host}, process ${local} there, ${name}`)
  );
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
  { length, batchSize }: Loader,
): Promise<RunState["fixed"]> {
  return {
    data: await dataFingerprint(settings.dataPath),
    rows: length,
    hidden_size: language.hidden_size,
    num_hidden_layers: language.num_hidden_layers,
    use_moe: language.use_moe,
    vision_hidden_size: vision.hidden_size,
    freeze_llm: settings.freeze,
    samples_per_update: batchSize * settings.accumulationSteps,
    max_seq_len: settings.maxLength,
    seed: settings.seed,
    shuffle: settings.shuffle,
  };
}
