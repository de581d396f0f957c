/** Requests that are repeated where that may help, with errors in sentences. */

import { FormatError, GlimpseError } from "../../kernels/runtime/errors.ts";

/** How requests are made. */
export interface HttpOptions {
  /** The caller's token, sent to `tokenFor` alone. */
  readonly token?: string | undefined;
  /** The origin that may see the token. */
  readonly tokenFor?: string;
  /** How often a request that failed is made again before it is given up. Default 6. */
  readonly retries?: number;
  /** Milliseconds of the first pause, doubled for each further one. Default 1000. */
  readonly pause?: number;
  /** Milliseconds without a byte after which a connection counts as dead. Default 60,000. */
  readonly patience?: number;
  /** Ends everything. */
  readonly signal?: AbortSignal | undefined;
  /** Hears why a request is made again, and after how many milliseconds. */
  readonly onRetry?: (why: string, after: number) => void;
}

/** The longest pause between two requests, in milliseconds, unless the server asks for a longer one. */
const MAX_PAUSE = 60_000;

/** The longest pause that a server may ask for, in milliseconds. */
const MAX_ASKED_PAUSE = 600_000;

/** Something that may pass: a lost connection, a busy server. */
export class TransientError extends GlimpseError {
  /** The kind of error. */
  override name = "TransientError";
  /** Milliseconds that the server asks to wait. */
  readonly after: number | undefined;

  /** An error with the pause that the server asks for. */
  constructor(message: string, after?: number, options?: ErrorOptions) {
    super(message, options);
    this.after = after;
  }
}

/**
 * Makes requests. Proxies are those of the usual variables (`HTTPS_PROXY`, `NO_PROXY`), which the
 * runtime obeys by itself.
 */
export class Http {
  readonly #options: HttpOptions;

  /** A client; nothing is sent yet. */
  constructor(options: HttpOptions = {}) {
    this.#options = options;
  }

  /** Milliseconds without a byte after which a connection counts as dead. */
  get patience(): number {
    return this.#options.patience ?? 60_000;
  }

  /** Ends everything. */
  get signal(): AbortSignal | undefined {
    return this.#options.signal;
  }

  /**
   * Reads JSON.
   *
   * @param what What it is about, for errors.
   * @throws {GlimpseError} where it cannot be had.
   */
  async json(url: string, what: string): Promise<unknown> {
    return await this.repeat(async () => {
      using watch = new Watch(this.patience, this.signal);
      const response = await this.open(url, what, {}, watch.signal);
      const text = await response.text().catch((cause) => {
        throw networkError(cause, url, this.signal);
      });
      try {
        return JSON.parse(text);
      } catch (cause) {
        throw new FormatError(
          `${originOf(url)} answers for ${what} with something else than JSON.`,
          {
            cause,
          },
        );
      }
    });
  }

  /**
   * Makes one request.
   *
   * @throws {TransientError} where it may help to make it again.
   * @throws {GlimpseError} where it will not.
   */
  async open(
    url: string,
    what: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Response> {
    const { token, tokenFor } = this.#options;
    const all = new Headers({ "accept-encoding": "identity", ...headers });
    if (token && tokenFor === originOf(url)) all.set("authorization", `Bearer ${token}`);
    const response = await fetch(url, { headers: all, signal }).catch((cause) => {
      throw networkError(cause, url, this.signal);
    });
    if (response.ok || response.status === 416) return response;
    await response.body?.cancel();
    throw statusError(response, what, token !== undefined);
  }

  /**
   * Does something again as long as it fails in a way that may pass, with growing pauses of random
   * length between.
   *
   * @param moved Whether there was progress since it was asked last; then counting begins anew.
   */
  async repeat<T>(action: () => Promise<T>, moved: () => boolean = () => false): Promise<T> {
    const { retries = 6, pause = 1000, onRetry, signal } = this.#options;
    for (let failures = 0;;) {
      try {
        signal?.throwIfAborted();
        return await action();
      } catch (error) {
        if (!(error instanceof TransientError)) throw error;
        if (moved()) failures = 0;
        if (failures >= retries) {
          const times = failures === 0 ? "" : ` after ${failures + 1} tries`;
          throw new GlimpseError(`${error.message.replace(/\.$/, "")}; given up${times}.`, {
            cause: error,
          });
        }
        const longest = Math.min(pause * 2 ** failures++, MAX_PAUSE);
        const after = error.after === undefined
          ? longest * (0.5 + 0.5 * Math.random())
          : Math.min(error.after, MAX_ASKED_PAUSE);
        onRetry?.(error.message, after);
        await sleep(after, signal);
      }
    }
  }
}

/** A signal that fires when nothing was heard for a while, or when the caller's does. */
export class Watch implements Disposable {
  readonly #controller = new AbortController();
  readonly #patience: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Give this to the request. */
  readonly signal: AbortSignal;

  /** A watch that runs. */
  constructor(patience: number, signal?: AbortSignal) {
    this.#patience = patience;
    this.signal = signal
      ? AbortSignal.any([signal, this.#controller.signal])
      : this.#controller.signal;
    this.heard();
  }

  /** Something came. */
  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const seconds = this.#patience / 1000;
      this.#controller.abort(new TransientError(`nothing was heard for ${seconds} s`));
    }, this.#patience);
  }

  /** Stops it. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** The origin of an address. */
export function originOf(url: string): string {
  return new URL(url).origin;
}

/**
 * What a failure of the network means; that of the caller's own signal is passed on.
 *
 * @param what What the server did.
 */
export function networkError(
  error: unknown,
  url: string,
  signal?: AbortSignal,
  what = "cannot be reached",
): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof Deno.errors.NotCapable) {
    const host = /net access to "([^"]+)"/.exec(error.message)?.[1] ?? new URL(url).host;
    return new GlimpseError(
      `There is no permission to reach ${host}. If you trust it, run ` +
        `deno run --allow-read --allow-write --allow-env=HF_TOKEN,HF_ENDPOINT ` +
        `--allow-sys=statfs --allow-net=${host},… cli.ts fetch with what follows.`,
      { cause: error },
    );
  }
  if (error instanceof GlimpseError && !(error instanceof TransientError)) return error;
  const { message, cause } = error instanceof Error ? error : new Error(String(error));
  const why = cause instanceof Error ? cause.message : message;
  return new TransientError(
    `${originOf(url)} ${what}: ${why.replace(/\.$/, "")}.`,
    undefined,
    {
      cause: error,
    },
  );
}

function statusError(response: Response, what: string, hasToken: boolean): GlimpseError {
  const { status, url, headers } = response;
  const host = originOf(url);
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    const busy = status === 429 ? "asks for fewer requests" : "is in trouble";
    return new TransientError(`${host} ${busy} (${status}).`, retryAfter(headers));
  }
  if (status === 401 || status === 403) {
    return new GlimpseError(
      `${host} does not give ${what} (${status}): it is private or has conditions to accept, or ` +
        `it does not exist. ${
          hasToken ? "HF_TOKEN does not open it" : "Set HF_TOKEN if you have access"
        }.`,
    );
  }
  if (status === 404) return new GlimpseError(`There is no ${what} at ${host} (404).`);
  return new GlimpseError(`${host} does not give ${what} (${status}).`);
}

/** Milliseconds to wait by a `Retry-After` header, which holds seconds or a date. */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const milliseconds = /^\d+$/.test(text.trim())
    ? Number(text) * 1000
    : Date.parse(text) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}

function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
