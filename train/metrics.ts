import { dirname } from "@std/path";

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
  /** By what losses are multiplied from then on, in float16. */
  loss_scale?: number;
  /** Rows that went through the language model. */
  tokens: number;
  /** Samples. */
  samples: number;
  /** Seconds that it took, the mean of the steps whose numbers were read together. */
  seconds: number;
}

/** Writes metrics as they come, one JSON line a step. */
export class MetricsFile implements Disposable {
  readonly #file: Deno.FsFile;

  /** Opens a file, anew or after the first `keep` updates that it holds. Its folder is made if it is missing. */
  constructor(path: string, keep: number) {
    Deno.mkdirSync(dirname(path), { recursive: true });
    const kept = keep > 0 ? linesUpTo(path, keep) : "";
    this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    this.#write(kept);
  }

  /** Writes one line, whole. */
  write(metrics: object): void {
    this.#write(JSON.stringify(metrics) + "\n");
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }
}

/** The lines of a metrics file up to an update; a line that a kill cut off is dropped. */
function linesUpTo(path: string, updates: number): string {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
  const kept = text.split("\n").slice(0, -1).filter((line) => {
    try {
      return JSON.parse(line).step <= updates;
    } catch {
      return false;
    }
  });
  return kept.map((line) => line + "\n").join("");
}
