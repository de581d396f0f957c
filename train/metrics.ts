/** What is recorded of an optimizer step; one line of the metrics file. */
export interface StepMetrics {
  /** Optimizer step over all epochs, from 1. */
  step: number;
  /** Epoch, from 1. */
  epoch: number;
  /** Mean cross-entropy of the tokens learnt, averaged over the micro-batches. */
  loss: number;
  /** Load-balancing loss of the experts, averaged likewise; 0 without experts. */
  aux_loss: number;
  /** Learning rate. */
  lr: number;
  /** Norm of the whole gradient before clipping. */
  grad_norm: number;
  /** Rows that went through the language model. */
  tokens: number;
  /** Samples. */
  samples: number;
  /** Seconds since the step before. */
  seconds: number;
}

/** Writes metrics as they come, one JSON line a step. */
export class MetricsFile implements Disposable {
  readonly #file: Deno.FsFile;

  /** Opens a file for writing at its end, or anew. */
  constructor(path: string, append: boolean) {
    this.#file = Deno.openSync(path, { write: true, create: true, append, truncate: !append });
  }

  /** Writes one line, whole. */
  write(metrics: object): void {
    const line = new TextEncoder().encode(JSON.stringify(metrics) + "\n");
    for (let at = 0; at < line.length;) at += this.#file.writeSync(line.subarray(at));
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}
