import { join } from "@std/path";
import { writeFileAtomic } from "../data/files.ts";
import config from "../deno.json" with { type: "json" };
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { Guards } from "./guards.ts";
import type { StepMetrics } from "./metrics.ts";
import { MetricsFile } from "./metrics_file.ts";
import { readMetricsRows } from "./metrics_rows.ts";
import type { Progress, ProgressReport } from "./progress.ts";
import { reportHtml, type ReportSample } from "./report.ts";
import type { Recall } from "./retrieval.ts";
import { runName, type RunSettings } from "./settings.ts";
import { openTracker } from "./open_tracker.ts";
import type { RunEnd, Tracker } from "./tracker.ts";
import type { ValidationResult } from "./validation.ts";
import { uploadHint } from "./wandb_hint.ts";

/** Hears what happens in a run. */
export interface Watch extends AsyncDisposable {
  /** Loss of the last update. */
  readonly loss: number;
  /** Loss scale after it, in float16. */
  readonly lossScale: number | undefined;
  /** The least loss of the validations before, Infinity without any or unknown. */
  readonly bestValidation: number;
  /** Hears of an update. Throws when too many in a row had no finite gradient. */
  update(at: Progress, metrics: StepMetrics): void;
  /** Hears how the model does on what it does not learn from. */
  validation(step: number, result: ValidationResult & Partial<Recall>): void;
  /** Hears what the model says. */
  sample(sample: ReportSample, size: number): void;
  /** Hears of the run's end; returns the page that tells of it. */
  end(how: RunEnd): Promise<string>;
}

/** Keeps only the guards: for the ranks that leave showing to the first. */
export class SilentWatch implements Watch {
  loss: number;
  readonly lossScale = undefined;
  readonly bestValidation = Infinity;
  readonly #guards: Guards;

  /** A watch of a run that goes on after a loss. */
  constructor({ maxBadSteps }: RunSettings, loss: number) {
    this.loss = loss;
    this.#guards = new Guards(maxBadSteps, () => {});
  }

  update(_at: Progress, metrics: StepMetrics): void {
    this.loss = metrics.loss;
    this.#guards.check(metrics);
  }

  validation(): void {}

  sample(): void {}

  end(): Promise<string> {
    return Promise.resolve("");
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Shows a run to whoever watches: the terminal, the metrics file, a tracker, and a page at the end. */
export class RunWatch implements Watch {
  /** Loss of the last update shown. */
  loss: number;
  /** The least loss of the validations before, Infinity without any. */
  readonly bestValidation: number;
  /** Loss scale after the last update shown, in float16. */
  lossScale: number | undefined;
  readonly #settings: RunSettings;
  readonly #report: ProgressReport;
  readonly #gpu: Gpu;
  readonly #metrics: MetricsFile;
  readonly #tracker: Tracker;
  readonly #guards: Guards;
  readonly #samples: ReportSample[] = [];

  /** Opens what a run is shown by, after some updates made before. */
  static async open(
    settings: RunSettings,
    report: ProgressReport,
    gpu: Gpu,
    start: { updates: number; loss: number },
  ): Promise<RunWatch> {
    const metrics = await MetricsFile.open(settings.metrics, start.updates);
    try {
      const tracker = await openTracker(settings.trackers, {
        folder: trackerFolder(settings),
        runName: runName(settings),
        project: settings.project,
        firstStep: start.updates + 1,
        ...settings.trackingUri !== undefined && { trackingUri: settings.trackingUri },
        warn: (text) => report.say(text),
      });
      tracker.settings(shown(settings));
      const { validation } = await readMetricsRows(settings.metrics);
      const best = Math.min(...validation.map(({ loss }) => loss ?? Infinity));
      return new RunWatch(settings, report, gpu, metrics, tracker, start.loss, best);
    } catch (error) {
      metrics[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(
    settings: RunSettings,
    report: ProgressReport,
    gpu: Gpu,
    metrics: MetricsFile,
    tracker: Tracker,
    loss: number,
    bestValidation: number,
  ) {
    this.#settings = settings;
    this.#report = report;
    this.#gpu = gpu;
    this.#metrics = metrics;
    this.#tracker = tracker;
    this.loss = loss;
    this.bestValidation = bestValidation;
    this.#guards = new Guards(settings.maxBadSteps, (text) => report.say(text));
  }

  /**
   * Shows an update.
   *
   * @throws {GlimpseError} when too many updates in a row had no finite gradient.
   */
  update(at: Progress, metrics: StepMetrics): void {
    const { step, loss, aux_loss, lr, grad_norm, loss_scale, tokens, samples, seconds } = metrics;
    this.#metrics.write(metrics);
    this.#report.show(at, metrics, {
      paddedTokens: samples * (this.#settings.maxLength - 1),
      memory: this.#gpu.memory.live,
    });
    this.#tracker.scalars(step, {
      "train/loss": loss,
      "train/aux_loss": aux_loss,
      "train/lr": lr,
      "train/grad_norm": grad_norm,
      ...loss_scale !== undefined && { "train/loss_scale": loss_scale },
      "speed/tokens_per_second": tokens / seconds,
      "speed/samples_per_second": samples / seconds,
    });
    this.loss = loss;
    this.lossScale = loss_scale;
    this.#guards.check(metrics);
  }

  /** Shows how the model does on what it does not learn from. */
  validation(step: number, result: ValidationResult & Partial<Recall>): void {
    this.#metrics.write({ step, ...result });
    const { val_loss, blind_loss, images, texts: _, ...recall } = result;
    this.#tracker.scalars(step, {
      "validation/loss": val_loss,
      ...blind_loss !== undefined && { "validation/blind_loss": blind_loss },
      ...Object.fromEntries(Object.entries(recall).map(([name, r]) => [`validation/${name}`, r])),
    });
    const blind = blind_loss === undefined
      ? ""
      : `, with exchanged pictures ${blind_loss.toFixed(4)}`;
    const found = images === undefined ? "" : foundWords(result);
    this.#report.say(
      `after ${step} updates: validation loss ${val_loss.toFixed(4)}${blind}${found}`,
    );
  }

  /** Shows what the model says. */
  sample(sample: ReportSample, size: number): void {
    const { step, prompt, answer, expected, picture } = sample;
    this.#samples.push(sample);
    this.#tracker.text(step, "sample", `${prompt}\n\n${answer}\n\n(${expected})`);
    if (picture) this.#tracker.image(step, "sample", picture.bytes, size, size);
    this.#report.say(
      `after ${step} updates: ${JSON.stringify(answer)} for ${JSON.stringify(expected)}`,
    );
  }

  /** Writes the page that tells of the whole run. */
  async end(how: RunEnd): Promise<string> {
    this.#report.end();
    const settings = this.#settings;
    const { updates, validation } = await readMetricsRows(settings.metrics);
    const path = join(settings.folder.checkpoints, `${runName(settings)}_report.html`);
    const html = reportHtml({
      title: runName(settings),
      state: how,
      command: ["deno", "task", ...settings.command],
      date: new Date(),
      metrics: updates,
      validation,
      settings: shown(settings),
      hardware: {
        adapter: this.#gpu.info.name,
        processors: navigator.hardwareConcurrency,
        "device memory at most": formatBytes(this.#gpu.memory.peak),
        system: `${Deno.build.os} ${Deno.build.arch}`,
      },
      versions: { glimpse: config.version, ...Deno.version },
      samples: this.#samples,
    });
    await writeFileAtomic(path, html);
    this.#tracker.end(how);
    if (settings.trackers.includes("tensorboard")) {
      this.#report.say(uploadHint(trackerFolder(settings), settings.project));
    }
    return path;
  }

  /** Closes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#metrics[Symbol.dispose]();
    await this.#tracker[Symbol.asyncDispose]();
  }
}

/** How well pictures and texts find each other, and how well they would by chance. */
function foundWords(recall: Partial<Recall>): string {
  const percent = (share = NaN) => `${(100 * share).toFixed(1)}%`;
  const { images, texts } = recall;
  return `; of ${images} pictures ${percent(recall.image_to_text_r1)} find their text first and ` +
    `${percent(recall.image_to_text_r5)} among five of ${texts}, of the texts ` +
    `${percent(recall.text_to_image_r1)} and ${percent(recall.text_to_image_r5)} a picture`;
}

function trackerFolder(settings: RunSettings): string {
  return join(settings.folder.checkpoints, `${runName(settings)}_tracker`);
}

/** The settings as a reader wants them: flat, without what is not set. */
function shown(
  { folder: _, adamw, language, contrastive, ...rest }: RunSettings,
): Record<string, unknown> {
  const { sizes: _sizes, ...pairs } = contrastive ?? {};
  const all = Object.entries({ ...rest, ...adamw, ...language, ...pairs });
  return Object.fromEntries(all.filter(([, value]) => value !== undefined));
}
