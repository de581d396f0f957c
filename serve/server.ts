import { UsageError } from "../kernels/runtime/errors.ts";
import type { App } from "./app.ts";

/** A server that listens. */
export interface Server {
  /** Where it is reached. */
  readonly url: string;
  /** Resolves when it has stopped. */
  readonly finished: Promise<void>;
  /** Takes no more requests, finishes those that run, and stops. */
  stop(): Promise<void>;
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
    const server = Deno.serve({ hostname, port, onListen: () => {} }, app.fetch);
    const shown = hostname.includes(":") ? `[${hostname}]` : hostname;
    return {
      url: `http://${shown}:${server.addr.port}`,
      finished: server.finished,
      stop: () => {
        app.draining = true;
        return server.shutdown();
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
