import { compileLine } from "../data/open_gpu.ts";
import type { Compiling } from "../kernels/runtime/compile.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import type { StepMetrics } from "./metrics.ts";

/** Where a run stands. */
export interface Progress {
  /** Epoch, from 1. */
  readonly epoch: number;
  /** All epochs. */
  readonly epochs: number;
  /** Batch within the epoch, from 1. */
  readonly step: number;
  /** Batches of an epoch. */
  readonly steps: number;
  /** Batches of this epoch that an earlier process has done. */
  readonly begun: number;
  /** Updates after which the run ends early; `Infinity` for never. */
  readonly maxSteps: number;
}

/** What a terminal shows beside an update's own numbers. */
export interface Resources {
  /** Rows that the original would compute for it, with its padding. */
  readonly paddedTokens: number;
  /** Bytes in use on the device. */
  readonly memory: number;
}

/** The original's log line, with the minutes that the epoch still takes. */
function logLine(
  { epoch, epochs, step, steps }: Progress,
  { loss, aux_loss, lr }: StepMetrics,
  minutes: number,
): string {
  const total = (loss + aux_loss).toFixed(6);
  return `Epoch:[${epoch}/${epochs}](${step}/${steps}) loss:${total} ` +
    `lr:${lr.toFixed(12)} epoch_Time:${minutes.toFixed(1)}min:`;
}

/** A duration as `1:02:03` or `2:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A count with a unit of thousands, such as `12.3k`. */
export function short(n: number): string {
  if (n < 1000) return n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0);
  return n < 1e6 ? `${(n / 1e3).toFixed(1)}k` : `${(n / 1e6).toFixed(1)}M`;
}

/** Where progress is shown: a line that rewrites itself on a terminal, log lines anywhere else. */
export class ProgressReport {
  /** Shows that the device compiles a kernel, or with nothing that it has compiled all. */
  readonly compiling: (kernel?: Compiling) => void;
  readonly #terminal: boolean;
  readonly #logInterval: number;
  readonly #print: (text: string) => void;
  readonly #rank: number;
  #epoch = 0;
  #epochSeconds = 0;
  #epochUpdates = 0;
  #logged = 0;
  #smoothed = NaN;
  #tokensPerSecond = NaN;
  #samplesPerSecond = NaN;
  #paddedPerSecond = NaN;

  /**
   * A report.
   *
   * @param terminal Whether a line may be rewritten.
   * @param logInterval Batches between two log lines.
   * @param print Writes text as it is.
   * @param rank Which of several processes this one is; all but the first keep silent but for warnings.
   */
  constructor(terminal: boolean, logInterval: number, print: (text: string) => void, rank = 0) {
    this.#terminal = terminal;
    this.#logInterval = logInterval;
    this.#print = print;
    this.#rank = rank;
    this.compiling = rank === 0 ? compileLine(terminal, print) : () => {};
  }

  /** Shows an update. */
  show(at: Progress, metrics: StepMetrics, resources: Resources): void {
    if (this.#rank > 0) return;
    if (at.epoch !== this.#epoch) {
      this.#epoch = at.epoch;
      this.#epochSeconds = this.#epochUpdates = this.#logged = 0;
    }
    this.#epochSeconds += metrics.seconds;
    this.#epochUpdates++;
    const blend = (old: number, value: number) =>
      Number.isNaN(old) ? value : 0.9 * old + 0.1 * value;
    this.#smoothed = blend(this.#smoothed, metrics.loss);
    this.#tokensPerSecond = blend(this.#tokensPerSecond, metrics.tokens / metrics.seconds);
    this.#samplesPerSecond = blend(this.#samplesPerSecond, metrics.samples / metrics.seconds);
    this.#paddedPerSecond = blend(
      this.#paddedPerSecond,
      resources.paddedTokens / metrics.seconds,
    );
    if (this.#terminal) this.#print(`\r\x1b[2K${this.#line(at, metrics, resources)}`);
    else {
      const due = (step: number) => Math.floor(step / this.#logInterval);
      if (due(at.step) > due(this.#logged) || at.step === at.steps) {
        const minutes = this.#perBatch(at) * (at.steps - at.step) / 60;
        this.#print(logLine(at, metrics, minutes) + "\n");
      }
      this.#logged = at.step;
    }
  }

  /** Says something between two lines. */
  say(text: string): void {
    if (this.#rank === 0) this.#print(this.#terminal ? `\r\x1b[2K${text}\n` : `${text}\n`);
  }

  /** Says what concerns this process, also where another one speaks for all. */
  warn(text: string): void {
    if (this.#rank === 0) this.say(text);
    else this.#print(`rank ${this.#rank}: ${text}\n`);
  }

  /** Ends the line that is being rewritten. */
  end(): void {
    if (this.#terminal && this.#epoch > 0) this.#print("\n");
  }

  /** Seconds that a batch of this epoch takes. */
  #perBatch({ step, begun }: Progress): number {
    return this.#epochSeconds / (step - begun);
  }

  #line(at: Progress, { step, lr, grad_norm }: StepMetrics, { memory }: Resources): string {
    const batches = (at.epochs - at.epoch + 1) * at.steps - at.step;
    const updates = at.maxSteps - step;
    const left = Math.min(
      this.#perBatch(at) * batches,
      this.#epochSeconds / this.#epochUpdates * updates,
    );
    return [
      `epoch ${at.epoch}/${at.epochs}`,
      `step ${at.step}/${at.steps}`,
      `loss ${this.#smoothed.toFixed(4)}`,
      `lr ${lr.toExponential(2)}`,
      `norm ${grad_norm.toPrecision(3)}`,
      `${short(this.#tokensPerSecond)} tokens/s (${short(this.#paddedPerSecond)} padded)`,
      `${short(this.#samplesPerSecond)} samples/s`,
      formatBytes(memory),
      `${clock(left)} left`,
    ].join("  ");
  }
}
