/** Where the numbers, texts and pictures of a run are sent for people to watch. */

import { MlflowTracker } from "./mlflow.ts";
import { TensorBoardTracker } from "./tensorboard.ts";

/** The services that a run can be tracked with. */
export const TRACKERS = ["none", "tensorboard", "mlflow"] as const;

/** One of them. */
export type TrackerKind = typeof TRACKERS[number];

/** How a run ended. */
export type RunEnd = "finished" | "stopped" | "failed";

/**
 * Takes what a run has to show. Nothing but opening throws: what cannot be written or sent is said
 * once through `warn`, and the run goes on.
 */
export interface Tracker extends AsyncDisposable {
  /** Numbers of a step, by tag (`train/loss`). */
  scalars(step: number, values: Readonly<Record<string, number>>): void;
  /** A text at a step. */
  text(step: number, tag: string, text: string): void;
  /** A picture at a step, as a PNG file. */
  image(step: number, tag: string, png: Uint8Array, width: number, height: number): void;
  /** The settings of the run, once, at its start. */
  settings(values: Readonly<Record<string, unknown>>): void;
  /** Says how the run ended; without it, it counts as failed. Disposal follows. */
  end(how: RunEnd): void;
  /** Writes out or sends what is waiting. */
  flush(): Promise<void>;
}

/** What a tracker is told at its start. */
export interface TrackerOptions {
  /** Folder of the run's tracking files; it is made if it is missing. */
  readonly folder: string;
  /** Name of the run. */
  readonly runName: string;
  /** Name of the project, which is MLflow's experiment. */
  readonly project: string;
  /** The first step of a run that is continued; earlier events from there on are replaced. */
  readonly firstStep?: number;
  /** Address of MLflow's server; the variable `MLFLOW_TRACKING_URI` where it is not given. */
  readonly trackingUri?: string;
  /** Says a sentence to the person. */
  readonly warn: (text: string) => void;
}

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
