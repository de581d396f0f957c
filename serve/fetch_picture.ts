import { DataError } from "../kernels/runtime/errors.ts";

/** Why a picture could not be fetched, for programs. */
export type FetchFailure = "image_url_not_allowed" | "image_fetch_failed" | "image_too_large";

/** A picture could not be fetched from its URL. */
export class FetchError extends DataError {
  /** The kind of error. */
  override name = "FetchError";
  /** Why. */
  readonly code: FetchFailure;

  /** An error with its sentence. */
  constructor(code: FetchFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** From where a picture may be fetched, and how much of it. */
export interface FetchOptions {
  /** Names of hosts, `*.name` for those below it, or `*` for any; redirects must stay among them too. */
  readonly hosts: readonly string[];
  /** Bytes of it at most. */
  readonly maxBytes: number;
  /** Breaks it off. */
  readonly signal?: AbortSignal | undefined;
}

const REDIRECTS = 3;
const FETCH_MS = 15_000;

/**
 * Fetches a picture's file, within 15 seconds.
 *
 * @throws {FetchError} when its host is not allowed, does not answer with it in time, or it is too large.
 */
export async function fetchPicture(
  url: string,
  { hosts, maxBytes, signal }: FetchOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const limit = AbortSignal.any([AbortSignal.timeout(FETCH_MS), ...signal ? [signal] : []]);
  try {
    for (let hop = 0, next = new URL(url); hop <= REDIRECTS; hop++) {
      if (!isAllowed(next, hosts)) {
        const why = hosts.length === 0
          ? "Pictures are not fetched from URLs here; send the picture itself as a data: URL."
          : `Pictures are not fetched from ${next.host} here.`;
        throw new FetchError("image_url_not_allowed", why);
      }
      const response = await fetch(next, { redirect: "manual", signal: limit });
      const location = response.headers.get("location");
      if (response.status >= 300 && response.status < 400 && location !== null) {
        await response.body?.cancel();
        next = new URL(location, next);
        continue;
      }
      if (response.ok) return await upTo(maxBytes, response);
      await response.body?.cancel();
      throw failed(`The picture's host answered ${response.status}.`);
    }
    throw failed("The picture's URL leads on too often.");
  } catch (error) {
    if (error instanceof FetchError) throw error;
    if (signal?.aborted) throw failed("The picture is no longer wanted.", error);
    if (limit.aborted) throw failed("The picture's host took too long.", error);
    throw failed("The picture could not be fetched.", error);
  }
}

/** Whether a URL's host is on the list. `*` leaves out this machine and addresses in numbers. */
export function isAllowed(url: URL, hosts: readonly string[]): boolean {
  const { protocol } = url;
  const hostname = url.hostname.replace(/\.$/, "");
  if (protocol !== "http:" && protocol !== "https:") return false;
  return hosts.some((host) => {
    if (host === "*") {
      return hostname.includes(".") &&
        !/[:\]]|^[\d.]+$|\.(localhost|local|internal)$/.test(hostname);
    }
    return host.startsWith("*.") ? hostname.endsWith(host.slice(1)) : hostname === host;
  });
}

async function upTo(most: number, response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    if ((length += part.length) > most) {
      throw new FetchError("image_too_large", tooManyBytes(most));
    }
    parts.push(part);
  }
  return await new Blob(parts).bytes();
}

/** What is said of a picture with too many bytes. */
export function tooManyBytes(most: number): string {
  return `A picture must not have more than ${most} bytes.`;
}

function failed(message: string, cause?: unknown): FetchError {
  return new FetchError("image_fetch_failed", message, { cause });
}
