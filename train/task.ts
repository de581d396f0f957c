import type { LoadedBatch, Loader } from "../data/loader.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Parameters } from "../model/parameters.ts";
import type { Trainable } from "../model/trainable.ts";
import type { RunState } from "./checkpoint.ts";
import type { Communicator } from "./communicator.ts";
import type { ReportSample } from "./report.ts";
import type { Recall } from "./retrieval.ts";
import type { ValidationResult } from "./validation.ts";

/** What a run trains, and all in which ways of training differ. */
export interface TrainingTask extends Disposable {
  /** What trains. */
  readonly model: Trainable;
  /** Learning rate of each group of parameters. */
  readonly learningRates: Readonly<Record<string, number>>;
  /** Groups of parameters that do not decay. */
  readonly undecayed?: ReadonlySet<string>;
  /** What must be the same when the run goes on, beside what must be so in every run. */
  readonly fixed: RunState["fixed"];
  /** The parameters that the original's checkpoints hold, where it trains so, too. */
  readonly original?: Parameters;
  /** Side of its pictures in pixels; 0 for none. */
  readonly pictureSize: number;
  /** Where weights are saved: the last, or of another `kind` such as `_best`. */
  weights(kind?: string): string;
  /** Saves them there. */
  save(kind?: string): Promise<void>;
  /** Features of a batch's pictures, where they are kept; the caller's to free. */
  features(batch: LoadedBatch["batch"]): Promise<Tensor | undefined>;
  /** Keeps what of them still waits on the device. */
  flush(): Promise<void>;
  /** Measures the model on what it does not learn from. */
  validate(loader: Loader, ranks: Communicator): Promise<ValidationResult & Partial<Recall>>;
  /** What the model says of a sample. */
  answer?(loader: Loader, updates: number): Promise<ReportSample | undefined>;
}
