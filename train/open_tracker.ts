/** The services that a run can be watched with, and how one is opened. */

import { MlflowTracker } from "./mlflow.ts";
import { TensorBoardTracker } from "./tensorboard.ts";
import type { Tracker, TrackerOptions } from "./tracker.ts";

/** The services that a run can be tracked with. */
export const TRACKERS = ["none", "tensorboard", "mlflow"] as const;

/** One of them. */
export type TrackerKind = typeof TRACKERS[number];

/**
 * Opens a tracker, or several that are told the same.
 *
 * @example
 * ```ts
 * await using tracker = await openTracker("tensorboard", {
 *   folder: "checkpoints/pretrain_vlm_512_tracker",
 *   runName: "pretrain_vlm_512",
 *   project: "MiniMind-V-Pretrain",
 *   warn: console.warn,
 * });
 * tracker.scalars(1, { "train/loss": 8.7 });
 * tracker.end("finished");
 * ```
 * @throws {GlimpseError} where a file cannot be made.
 * @throws {UsageError} where MLflow's address is missing or wrong, or the network may not be used.
 */
export async function openTracker(
  kind: TrackerKind | readonly TrackerKind[],
  options: TrackerOptions,
): Promise<Tracker> {
  const kinds = [...new Set([kind].flat())];
  const trackers: Tracker[] = [];
  try {
    for (const kind of kinds) {
      if (kind === "tensorboard") trackers.push(await TensorBoardTracker.open(options));
      if (kind === "mlflow") trackers.push(await MlflowTracker.open(options));
    }
  } catch (error) {
    for (const tracker of trackers) await tracker[Symbol.asyncDispose]();
    throw error;
  }
  return trackers.length === 1 ? trackers[0]! : together(trackers);
}

function together(trackers: readonly Tracker[]): Tracker {
  const all = async (what: (tracker: Tracker) => PromiseLike<void>) =>
    void await Promise.all(trackers.map(what));
  return {
    scalars: (...args) => trackers.forEach((tracker) => tracker.scalars(...args)),
    text: (...args) => trackers.forEach((tracker) => tracker.text(...args)),
    image: (...args) => trackers.forEach((tracker) => tracker.image(...args)),
    settings: (...args) => trackers.forEach((tracker) => tracker.settings(...args)),
    end: (how) => trackers.forEach((tracker) => tracker.end(how)),
    flush: () => all((tracker) => tracker.flush()),
    [Symbol.asyncDispose]: () => all((tracker) => tracker[Symbol.asyncDispose]()),
  };
}
