/**
 * MLflow's REST interface, as far as a training run needs it.
 *
 * Source: https://mlflow.org/docs/latest/rest-api.html; its limits are those of
 * `mlflow/utils/validation.py`, or less where older servers take less.
 *
 * @module
 */

import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";

/** A number of a run. */
export interface Metric {
  /** Its name. */
  readonly key: string;
  /** The number. */
  readonly value: number;
  /** When it was measured, in milliseconds since 1970. */
  readonly timestamp: number;
  /** The step. */
  readonly step: number;
}

/** A setting of a run. */
export interface Param {
  /** Its name. */
  readonly key: string;
  /** The setting. */
  readonly value: string;
}

/** A run on the server. */
export interface MlflowRun {
  /** Its identifier. */
  readonly id: string;
  /** Where its files belong. */
  readonly artifactUri: string;
}

/** What a run's state is called. */
export type MlflowStatus = "RUNNING" | "FINISHED" | "KILLED" | "FAILED";

/** The most metrics that one batch may hold. */
export const METRICS_PER_BATCH = 1000;
/** The most settings that one batch may hold. */
export const PARAMS_PER_BATCH = 100;

const LONGEST_KEY = 250;
const LONGEST_VALUE = 500;
const TIMEOUT_MS = 10_000;

/** A request that failed. */
export class MlflowError extends GlimpseError {
  /** Its name. */
  override name = "MlflowError";
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;

  /** An error with its HTTP status. */
  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }

  /** Whether the same request may succeed later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** A key as MLflow takes it: letters, digits, `_-. :/`. */
export function mlflowKey(name: string): string {
  return name.replace(/[^\w\-. :/]/g, "_").slice(0, LONGEST_KEY);
}

/** A path of a file of a run: such a key without empty parts and steps upward. */
export function artifactPath(name: string): string {
  const parts = mlflowKey(name).replaceAll(":", "_").split("/");
  return parts.filter((part) => !/^\.*$/.test(part)).join("/") || "_";
}

/** Speaks to one server. */
export class MlflowClient {
  /** Host and port, for sentences. */
  readonly host: string;
  readonly #base: URL;
  readonly #headers: Record<string, string>;

  /**
   * A client of a server.
   *
   * @param address `http://host:port`, possibly with a path, and with name and password.
   * @param authorization Value of the header of that name.
   * @throws {UsageError} where the address is none of a server.
   */
  constructor(address: string, authorization?: string) {
    const url = URL.parse(address);
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new UsageError(
        `MLflow's address must be a server's, such as http://127.0.0.1:5000, but is "${address}".`,
      );
    }
    const basic = url.username &&
      `Basic ${btoa(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`)}`;
    [url.username, url.password, url.search, url.hash] = ["", "", "", ""];
    url.pathname = url.pathname.replace(/\/*$/, "/");
    this.#base = url;
    this.host = url.host;
    const header = authorization ?? basic;
    this.#headers = header ? { authorization: header } : {};
  }

  /** The server's address without name and password. */
  get address(): string {
    return this.#base.href;
  }

  /** The identifier of an experiment, which is made if there is none of the name. */
  async experiment(name: string): Promise<string> {
    const find = `experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`;
    const found = await this.#call("GET", find).catch((error) => {
      if (error instanceof MlflowError && error.status === 404) return undefined;
      throw error;
    });
    if (found !== undefined) return textAt(found, "experiment", "experiment_id");
    const made = await this.#call("POST", "experiments/create", { name }).catch((error) => {
      if (error instanceof MlflowError && error.status === 400) return undefined; // made meanwhile
      throw error;
    });
    return made === undefined
      ? textAt(await this.#call("GET", find), "experiment", "experiment_id")
      : textAt(made, "experiment_id");
  }

  /** Begins a run. */
  async createRun(experiment: string, name: string, startTime: number): Promise<MlflowRun> {
    const tags = [
      { key: "mlflow.runName", value: name },
      { key: "mlflow.source.name", value: "glimpse" },
      { key: "mlflow.source.type", value: "LOCAL" },
    ];
    const body = { experiment_id: experiment, run_name: name, start_time: startTime, tags };
    const { run } = await this.#call("POST", "runs/create", body);
    return {
      id: textAt(run, "info", "run_id"),
      artifactUri: textAt(run, "info", "artifact_uri"),
    };
  }

  /** Sets a run's state, with its end where it has ended. */
  async updateRun(id: string, status: MlflowStatus, endTime?: number): Promise<MlflowRun> {
    const body = { run_id: id, status, ...(endTime !== undefined && { end_time: endTime }) };
    const { run_info } = await this.#call("POST", "runs/update", body);
    return { id, artifactUri: textAt(run_info, "artifact_uri") };
  }

  /** Adds numbers and settings to a run, within the limits of a batch. */
  async logBatch(id: string, metrics: readonly Metric[], params: readonly Param[]): Promise<void> {
    await this.#call("POST", "runs/log-batch", {
      run_id: id,
      metrics: metrics.map((metric) => ({
        ...metric,
        key: mlflowKey(metric.key),
        value: Number.isFinite(metric.value) ? metric.value : String(metric.value),
      })),
      params: params.map(({ key, value }) => ({
        key: mlflowKey(key),
        value: value.slice(0, LONGEST_VALUE),
      })),
    });
  }

  /** Whether a run's files can be given to this server. */
  takesArtifacts(run: MlflowRun): boolean {
    return this.#artifactUrl(run, "") !== undefined;
  }

  /**
   * Adds a file to a run whose files the server keeps.
   *
   * @param path Path within the run, of {@linkcode artifactPath}.
   */
  async putArtifact(run: MlflowRun, path: string, content: BodyInit): Promise<void> {
    const url = this.#artifactUrl(run, path);
    if (url !== undefined) await this.#fetch("PUT", url, content);
  }

  /** `mlflow-artifacts:/1/RUN/artifacts` stands for a path behind the server's own interface. */
  #artifactUrl({ artifactUri }: MlflowRun, path: string): URL | undefined {
    const uri = URL.parse(artifactUri);
    if (uri?.protocol !== "mlflow-artifacts:" || (uri.host && uri.host !== this.host)) return;
    const root = uri.pathname.split("/").filter((part) => part !== "").join("/");
    return new URL(`api/2.0/mlflow-artifacts/artifacts/${root}/${encodeURI(path)}`, this.#base);
  }

  async #call(
    method: "GET" | "POST",
    path: string,
    body?: Readonly<Record<string, unknown>>,
  ): Promise<Record<string, unknown>> {
    const url = new URL(`api/2.0/mlflow/${path}`, this.#base);
    const answer = await this.#fetch(method, url, JSON.stringify(body));
    try {
      return Object(JSON.parse(answer));
    } catch {
      throw new MlflowError(`the answer to ${method} ${url.pathname} is no JSON`, 502);
    }
  }

  async #fetch(method: string, url: URL, body?: BodyInit): Promise<string> {
    let answer: Response, text: string;
    try {
      const headers = { ...this.#headers, "content-type": contentType(body) };
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      answer = await fetch(url, { method, headers, body, signal, redirect: "manual" });
      text = await answer.text();
    } catch (error) {
      throw new MlflowError((error as Error).message, 0);
    }
    if (answer.ok) return text;
    const said = /"message"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
    const why = said === undefined ? answer.statusText : String(JSON.parse(said)).slice(0, 300);
    throw new MlflowError(`${answer.status} at ${method} ${url.pathname}: ${why}`, answer.status);
  }
}

function contentType(body?: BodyInit): string {
  return body instanceof Uint8Array ? "application/octet-stream" : "application/json";
}

function textAt(value: unknown, ...path: string[]): string {
  for (const key of path) value = Object(value)[key];
  if (typeof value === "string" && value !== "") return value;
  throw new MlflowError(`the answer has no ${path.join(".")}`, 502);
}
