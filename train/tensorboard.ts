import { GlimpseError } from "../kernels/runtime/errors.ts";
import {
  EventFile,
  hparamsSummary,
  imageSummary,
  scalarSummary,
  textSummary,
} from "./event_file.ts";
import type { RunEnd, Tracker, TrackerOptions } from "./tracker.ts";

/** Writes TensorBoard's event files: numbers, texts, pictures, and the settings as a table. */
export class TensorBoardTracker implements Tracker {
  readonly #file: EventFile;
  readonly #runName: string;
  readonly #warn: (text: string) => void;
  #warned = false;

  private constructor(file: EventFile, { runName, warn }: TrackerOptions) {
    this.#file = file;
    this.#runName = runName;
    this.#warn = warn;
  }

  /**
   * Begins a new file in the run's folder; a run that is continued keeps its earlier ones.
   *
   * @throws {GlimpseError} where it cannot be made.
   */
  static async open(options: TrackerOptions): Promise<TensorBoardTracker> {
    try {
      await Deno.mkdir(options.folder, { recursive: true });
      return new TensorBoardTracker(new EventFile(options.folder, options.firstStep ?? 0), options);
    } catch (cause) {
      const why = (cause as Error).message;
      throw new GlimpseError(
        `TensorBoard's events cannot be written to ${options.folder}: ${why}`,
        {
          cause,
        },
      );
    }
  }

  /** Where the events go. */
  get path(): string {
    return this.#file.path;
  }

  /** {@inheritDoc Tracker.scalars} */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    this.#write(step, scalarSummary(values));
  }

  /** {@inheritDoc Tracker.text} */
  text(step: number, tag: string, text: string): void {
    this.#write(step, textSummary(tag, text));
  }

  /** {@inheritDoc Tracker.image} */
  image(step: number, tag: string, png: Uint8Array, width: number, height: number): void {
    this.#write(step, imageSummary(tag, png, width, height));
  }

  /** The settings as a text and in the table of hyperparameters. */
  settings(values: Readonly<Record<string, unknown>>): void {
    const plain = Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, plainValue(value)]),
    );
    this.#write(0, textSummary("settings", markdownTable(plain)));
    this.#write(0, hparamsSummary(plain, this.#runName, Date.now() / 1000));
  }

  /** Does nothing: event files do not say how a run ended. */
  end(_how: RunEnd): void {}

  /** Forces the events to the disk. */
  async flush(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (error) {
      this.#report(error);
    }
  }

  /** Writes out what is waiting and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
    this.#file[Symbol.dispose]();
  }

  #write(step: number, what: Uint8Array): void {
    try {
      this.#file.write(step, what);
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    const why = (error as Error).message;
    this.#warn(
      `TensorBoard's events are not all written to ${this.path}: ${why}. Training goes on.`,
    );
  }
}

/** A setting as a tracker takes it: numbers and switches as they are, anything else as text. */
export function plainValue(value: unknown): string | number | boolean {
  if (typeof value === "number" || typeof value === "boolean") return value;
  if (typeof value === "string") return value;
  return value === undefined ? "" : JSON.stringify(value) ?? String(value);
}

function markdownTable(values: Readonly<Record<string, unknown>>): string {
  const cell = (value: unknown) =>
    String(value).replace(/[\\`*_{}[\]<>()#+!|~-]/g, "\\$&").replace(/\s+/g, " ");
  const rows = Object.entries(values).map(([name, value]) => `| ${cell(name)} | ${cell(value)} |`);
  return ["| setting | value |", "|---|---|", ...rows].join("\n");
}
