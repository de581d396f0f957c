/** Where the numbers, texts and pictures of a run are sent for people to watch. */

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
