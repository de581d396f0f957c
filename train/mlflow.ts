import { join } from "@std/path";
import { writeFileAtomic } from "../data/files.ts";
import {
  artifactPath,
  type Metric,
  METRICS_PER_BATCH,
  type MlflowClient,
  MlflowError,
  type MlflowRun,
  type MlflowStatus,
  type Param,
  PARAMS_PER_BATCH,
} from "./mlflow_client.ts";
import { mlflowServer } from "./mlflow_server.ts";
import { plainValue } from "./tensorboard.ts";
import type { RunEnd, Tracker, TrackerOptions } from "./tracker.ts";

/** How often and how long is tried, in milliseconds. */
export interface Patience {
  /** Between two batches. */
  readonly interval: number;
  /** After the first failure; it doubles with each further one. */
  readonly firstDelay: number;
  /** After many failures. */
  readonly longestDelay: number;
  /** At the end of a run, for what is still waiting. */
  readonly atEnd: number;
}

const PATIENCE: Patience = {
  interval: 2000,
  firstDelay: 1000,
  longestDelay: 60_000,
  atEnd: 10_000,
};
const MOST_METRICS = 200_000;
const MOST_FILE_BYTES = 1 << 26;
const STATUS: Record<RunEnd, MlflowStatus> = {
  finished: "FINISHED",
  stopped: "KILLED",
  failed: "FAILED",
};

interface WaitingFile {
  readonly path: string;
  readonly content: Uint8Array<ArrayBuffer>;
}

/**
 * Sends a run to a server of MLflow in the background. While the server does not answer, up to
 * 200,000 numbers and 64 MiB of files wait for it, the oldest going first; the run itself never waits.
 */
export class MlflowTracker implements Tracker {
  readonly #client: MlflowClient;
  readonly #options: TrackerOptions;
  readonly #patience: Patience;
  readonly #metrics: Metric[] = [];
  readonly #params: Param[] = [];
  readonly #files: WaitingFile[] = [];
  #status: MlflowStatus = "FAILED";
  #experiment: string | undefined;
  #run: MlflowRun | undefined;
  #continued = false;
  #refused = false;
  #warned = false;
  #lost = 0;
  #delay = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closing = false;
  #sending: Promise<boolean> | undefined;

  private constructor(client: MlflowClient, options: TrackerOptions, patience: Patience) {
    this.#client = client;
    this.#options = options;
    this.#patience = patience;
  }

  /**
   * A tracker of a run. The server need not answer yet.
   *
   * @throws {UsageError} where the server's address is missing or wrong, or it may not be reached.
   */
  static async open(
    options: TrackerOptions,
    patience: Partial<Patience> = {},
  ): Promise<MlflowTracker> {
    const client = await mlflowServer(options.trackingUri);
    const tracker = new MlflowTracker(client, options, { ...PATIENCE, ...patience });
    tracker.#schedule();
    return tracker;
  }

  /** {@inheritDoc Tracker.scalars} */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const timestamp = Date.now();
    for (const [key, value] of Object.entries(values)) {
      this.#metrics.push({ key, value, timestamp, step });
    }
    const tooMany = this.#metrics.length - MOST_METRICS;
    if (tooMany > 0) this.#lost += this.#metrics.splice(0, tooMany).length;
    this.#schedule();
  }

  /** A text, as a file of the run. */
  text(step: number, tag: string, text: string): void {
    this.#file(`${tag}/step-${padded(step)}.txt`, new TextEncoder().encode(text));
  }

  /** A picture, as a file of the run. */
  image(step: number, tag: string, png: Uint8Array, _width: number, _height: number): void {
    this.#file(`${tag}/step-${padded(step)}.png`, new Uint8Array(png));
  }

  /** The settings, as MLflow's parameters, which a run that is continued has already. */
  settings(values: Readonly<Record<string, unknown>>): void {
    for (const [key, value] of Object.entries(values)) {
      this.#params.push({ key, value: String(plainValue(value)) });
    }
    this.#schedule();
  }

  /** {@inheritDoc Tracker.end} */
  end(how: RunEnd): void {
    this.#status = STATUS[how];
  }

  /** Sends what is waiting, once. */
  async flush(): Promise<void> {
    await this.#sending;
    await this.#send();
  }

  /** Sends what is waiting and how the run ended, for a limited time. */
  async [Symbol.asyncDispose](): Promise<void> {
    const until = Date.now() + this.#patience.atEnd;
    this.#closing = true;
    clearTimeout(this.#timer);
    await this.#sending;
    for (this.#delay = 0; !await this.#send(true) && !this.#refused;) {
      const wait = Math.min(this.#delay, 1000);
      if (Date.now() + wait >= until) break;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
    const lost = this.#lost + this.#metrics.length + this.#params.length + this.#files.length;
    if (lost > 0) {
      const what = lost === 1 ? "1 value or file" : `${lost} values or files`;
      this.#options.warn(`${what} did not reach MLflow at ${this.#client.host}.`);
    }
  }

  #file(name: string, content: Uint8Array<ArrayBuffer>): void {
    this.#files.push({ path: artifactPath(name), content });
    let bytes = this.#files.reduce((sum, { content }) => sum + content.length, 0);
    while (bytes > MOST_FILE_BYTES) {
      bytes -= this.#files.shift()!.content.length;
      this.#lost++;
    }
    this.#schedule();
  }

  #schedule(): void {
    if (this.#closing || this.#refused || this.#timer !== undefined) return;
    const timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#send();
    }, Math.max(this.#patience.interval, this.#delay));
    Deno.unrefTimer(timer); // a run that is over does not wait for it
    this.#timer = timer;
  }

  /** Sends everything, one sending at a time; `false` where something went wrong. */
  #send(ends = false): Promise<boolean> {
    return this.#sending ??= this.#sendAll(ends).finally(() => this.#sending = undefined);
  }

  async #sendAll(ends: boolean): Promise<boolean> {
    if (this.#refused) return false;
    try {
      this.#run ??= await this.#begin();
      await this.#sendNumbers(this.#run);
      await this.#sendFiles(this.#run);
      if (ends) await this.#client.updateRun(this.#run.id, this.#status, Date.now());
      this.#delay = 0;
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  async #begin(): Promise<MlflowRun> {
    const { folder, firstStep, project, runName } = this.#options;
    const path = join(folder, "mlflow.json");
    const address = this.#client.address;
    if (firstStep !== undefined) {
      const known = await knownRun(path, address);
      const run = known && await this.#client.updateRun(known, "RUNNING").catch(unlessGone);
      this.#continued = run !== undefined;
      if (run) return run;
    }
    const experiment = this.#experiment ??= await this.#client.experiment(project);
    const run = await this.#client.createRun(experiment, runName, Date.now());
    const known = { address, experiment, run: run.id };
    await writeFileAtomic(path, JSON.stringify(known, undefined, 2) + "\n");
    return run;
  }

  async #sendNumbers({ id }: MlflowRun): Promise<void> {
    if (this.#continued) this.#params.length = 0;
    while (this.#metrics.length + this.#params.length > 0) {
      const params = this.#params.splice(0, PARAMS_PER_BATCH);
      const metrics = this.#metrics.splice(0, METRICS_PER_BATCH - params.length);
      await this.#deliver(() => this.#client.logBatch(id, metrics, params), () => {
        this.#params.unshift(...params);
        this.#metrics.unshift(...metrics);
      }, params.length + metrics.length);
    }
  }

  async #sendFiles(run: MlflowRun): Promise<void> {
    if (this.#files.length > 0 && !this.#client.takesArtifacts(run)) {
      this.#files.length = 0;
      this.#say(
        `MLflow at ${this.#client.host} keeps files where only MLflow's own client puts them ` +
          `(${run.artifactUri}); texts and pictures are left out.`,
      );
    }
    for (let file = this.#files.shift(); file; file = this.#files.shift()) {
      const { path, content } = file;
      const putBack = () => this.#files.unshift({ path, content });
      await this.#deliver(() => this.#client.putArtifact(run, path, content), putBack, 1);
    }
  }

  /** Sends what was taken out of a queue: it goes back where sending failed, unless it was refused. */
  async #deliver(send: () => Promise<void>, putBack: () => void, count: number): Promise<void> {
    try {
      await send();
    } catch (error) {
      if (error instanceof MlflowError && [400, 413, 422].includes(error.status)) {
        this.#lost += count;
        this.#say(`MLflow at ${this.#client.host} refused some values (${error.message}).`);
        return;
      }
      putBack();
      throw error;
    }
  }

  #failed(error: unknown): void {
    const { host } = this.#client;
    const why = (error as Error).message;
    if (error instanceof MlflowError && !error.passing) {
      this.#refused = true;
      this.#options.warn(`MLflow at ${host} refused the run (${why}); nothing more is sent to it.`);
      return;
    }
    const { firstDelay, longestDelay } = this.#patience;
    this.#delay = Math.min(Math.max(firstDelay, 2 * this.#delay), longestDelay);
    this.#say(
      `MLflow at ${host} cannot be reached (${why}); training goes on and it is tried again.`,
    );
    this.#schedule();
  }

  #say(text: string): void {
    if (!this.#warned) this.#options.warn(text);
    this.#warned = true;
  }
}

function padded(step: number): string {
  return String(step).padStart(8, "0");
}

function unlessGone(error: unknown): undefined {
  if (error instanceof MlflowError && !error.passing) return undefined;
  throw error;
}

/** The run that an earlier part began on the same server. */
async function knownRun(path: string, address: string): Promise<string | undefined> {
  try {
    const known = Object(JSON.parse(await Deno.readTextFile(path)));
    return known.address === address && typeof known.run === "string" ? known.run : undefined;
  } catch {
    return undefined;
  }
}
