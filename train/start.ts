import type { Loader } from "../data/loader.ts";
import { loadStrictly } from "../model/load_vlm.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { parseTuning, tuningOf, useTuning } from "../kernels/matmul/choose.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import config from "../deno.json" with { type: "json" };
import { type Checkpoints, requireSame, type RunState } from "./checkpoint.ts";
import type { Communicator } from "./communicator.ts";
import { requireAgreement } from "./data_parallel.ts";
import { dataFingerprint, modelFingerprints } from "./fingerprint.ts";
import type { AdamW, Moments } from "./optimizer.ts";
import { openOriginalResume } from "./original_resume.ts";
import type { ProgressReport } from "./progress.ts";
import { type RunSettings, startWeights } from "./settings.ts";
import type { TrainingTask } from "./task.ts";

/** Where a run begins. */
export type Start = Pick<RunState, "epoch" | "step" | "updates" | "loss" | "kernels">;

/** Loads the newest checkpoint, or else what the original left, or says that there is neither. */
export async function resume(
  checkpoints: Checkpoints,
  fixed: RunState["fixed"],
  { stepsPerEpoch, batchSize }: Loader,
  { model: { gpu }, original: parameters }: TrainingTask,
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
    const { epoch, samples, updates, loss, kernels } = latest.state;
    const start = { epoch, step: samples / batchSize, updates, loss, ...kernels && { kernels } };
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
  if (!parameters || !await exists(path)) {
    report.say(`There is no checkpoint in ${checkpoints.folder}; beginning anew.`);
    return { epoch: 0, step: 0, updates: 0, loss: NaN };
  }
  await using original = await openOriginalResume(path);
  const weights = { tensors: new Map(original.weights), metadata: {} };
  await loadStrictly(parameters, weights, path);
  await optimizer.takeUp(parameters, original.moments, original.updates, moments, path);
  const done = original.step >= stepsPerEpoch;
  const { updates } = original;
  const start = done
    ? { epoch: original.epoch + 1, step: 0, updates, loss: NaN }
    : { epoch: original.epoch, step: original.step, updates, loss: NaN };
  said(path, start);
  return start;
}

/** Lets a run that goes on use the kernels it began with, on the same adapter: others would sum in another order. */
export function keepKernels(
  gpu: Gpu,
  { kernels }: Start,
  report: Pick<ProgressReport, "say">,
): void {
  if (!kernels || kernels.adapter !== gpu.info.name) return;
  const before = parseTuning(kernels.tuning);
  if (JSON.stringify(before) === JSON.stringify(tuningOf(gpu))) return;
  useTuning(gpu, before);
  report.say("The run goes on with the kernels for products that it began with.");
}

/** Brings the ranks together: what they must agree on, and who they are. */
export async function meet(
  ranks: Communicator,
  settings: RunSettings,
  gpu: Gpu,
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
  const files = await modelFingerprints(folder, startWeights(settings), settings.pictures);
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
export async function fixedSettings(
  settings: RunSettings,
  dtype: Precision,
  task: TrainingTask,
  { length, batchSize }: Loader,
): Promise<RunState["fixed"]> {
  return {
    data: await dataFingerprint(settings.dataPath),
    rows: length,
    dtype,
    ...task.fixed,
    samples_per_update: batchSize * settings.accumulationSteps,
    max_seq_len: settings.maxLength,
    seed: settings.seed,
    shuffle: settings.shuffle,
    ...settings.groupWindow > 0 && { group_window: settings.groupWindow },
  };
}
