import { ApiError } from "./errors.ts";

/** Milliseconds in which a request's body must have come. */
const BODY_MS = 60_000;

/**
 * A request's body as it is read, if it comes in time.
 *
 * @throws {ApiError} 408 when it does not.
 */
export async function inTime<T>(body: Promise<T>, limit: number = BODY_MS): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new ApiError(408, "The request did not come.")), limit);
  try {
    return await Promise.race([body, late]);
  } finally {
    clearTimeout(timer);
  }
}
