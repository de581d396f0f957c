import { UsageError } from "../kernels/runtime/errors.ts";
import type { App } from "./app.ts";

/** A server that listens. */
export interface Server {
  /** Where it is reached. */
  readonly url: string;
  /** Resolves when it has stopped. */
  readonly finished: Promise<void>;
  /** Finishes the requests that run, while new questions are refused and its health is told; then it stops. */
  stop(): Promise<void>;
  /** Stops at once, and breaks off what runs. */
  abort(): void;
}

/** Where a server listens. */
export interface ListenOptions {
  /** Address. */
  readonly hostname: string;
  /** Port; 0 for any that is free. */
  readonly port: number;
}

/**
 * Starts to serve.
 *
 * @throws {UsageError} when the port is taken or must not be used.
 */
export function startServer(app: App, { hostname, port }: ListenOptions): Server {
  try {
    const open = new Set<Promise<void>>();
    const breaker = new AbortController();
    const { promise: broken, resolve: breakOff } = Promise.withResolvers<void>();
    const { signal } = breaker;
    const server = Deno.serve(
      { hostname, port, signal, onListen: () => {} },
      (request, { completed }) => {
        const ended = completed.catch(() => {}).finally(() => open.delete(ended));
        open.add(ended);
        return app.fetch(request);
      },
    );
    const finished = Promise.race([server.finished, broken]);
    let stopping: Promise<void> | undefined;
    let closing = false;
    const stop = async (): Promise<void> => {
      app.draining = true;
      await Promise.race([Promise.all(open), finished]);
      closing = true;
      await Promise.race([server.shutdown(), finished]);
    };
    const shown = hostname.includes(":") ? `[${hostname}]` : hostname;
    return {
      url: `http://${shown}:${server.addr.port}`,
      finished,
      stop: () => stopping ??= stop(),
      abort: () => {
        app.draining = true;
        breakOff();
        if (!closing) breaker.abort(); // Deno fails when a server is aborted that shuts down
      },
    };
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    throw new UsageError(
      `Nothing can be served at ${hostname}:${port}: ${(cause as Error).message}.`,
      { cause },
    );
  }
}
