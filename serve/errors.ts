import { DataError, DeviceError, OutOfMemoryError, UsageError } from "../kernels/runtime/errors.ts";
import { ContextLengthError, QueueFullError } from "./engine.ts";

/** The statuses that are answered on purpose. */
export type ErrorStatus = 400 | 401 | 403 | 404 | 405 | 408 | 413 | 415 | 429 | 500 | 503;

/** An error in the form of OpenAI's interface. */
export interface ErrorBody {
  /** What went wrong. */
  readonly error: {
    /** A sentence for the person. */
    readonly message: string;
    /** The kind of error. */
    readonly type: string;
    /** The parameter at fault. */
    readonly param: string | null;
    /** The error's name for programs. */
    readonly code: string | null;
  };
}

/** What a client did that cannot be served. */
export class ApiError extends Error {
  /** HTTP's status. */
  readonly status: ErrorStatus;
  /** The parameter at fault. */
  readonly param: string | null;
  /** The error's name for programs. */
  readonly code: string | null;
  /** Seconds after which it may be otherwise. */
  readonly retryAfter: number | undefined;

  /** An error with its sentence, and what it is about. */
  constructor(
    status: ErrorStatus,
    message: string,
    about: { param?: string | undefined; code?: string; retryAfter?: number } = {},
  ) {
    super(message);
    this.status = status;
    this.param = about.param ?? null;
    this.code = about.code ?? null;
    this.retryAfter = about.retryAfter;
  }

  /** What is sent. */
  get body(): ErrorBody {
    const { message, param, code } = this;
    return { error: { message, type: TYPES[this.status] ?? "invalid_request_error", param, code } };
  }
}

const TYPES: Partial<Record<ErrorStatus, string>> = {
  401: "authentication_error",
  403: "permission_error",
  429: "rate_limit_error",
  500: "server_error",
  503: "server_error",
};

/** The error that a client is told of; what it is not at fault for is told in general words. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof QueueFullError) return queueFull(message);
  if (error instanceof ContextLengthError) {
    return new ApiError(400, message, { param: "messages", code: "context_length_exceeded" });
  }
  if (error instanceof DataError) return new ApiError(400, message, { code: "invalid_image" });
  if (error instanceof UsageError) return new ApiError(400, message);
  if (error instanceof OutOfMemoryError) {
    return new ApiError(
      503,
      "The device has too little memory for this question; show fewer pictures, say less, or try later.",
      { code: "out_of_memory", retryAfter: 1 },
    );
  }
  if (error instanceof DeviceError) {
    return new ApiError(503, "The device that the model runs on has failed.", { code: "device" });
  }
  return new ApiError(500, "The server made a mistake; its log says more.", { code: "internal" });
}

/** Too many questions wait. */
export function queueFull(message = "Too many questions wait; try again later."): ApiError {
  return new ApiError(429, message, { code: "queue_full", retryAfter: 1 });
}

/** The server answers what it was asked before, and no more. */
export function stopping(): ApiError {
  const message = "The server is about to stop; ask again when it, or another, is up.";
  return new ApiError(503, message, { code: "stopping", retryAfter: 5 });
}
