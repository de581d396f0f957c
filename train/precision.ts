import { UsageError } from "../kernels/runtime/errors.ts";
import type { AdapterInfo } from "../kernels/runtime/adapter.ts";
import type { Precision } from "../kernels/runtime/precision.ts";

/** The rule of `choosePrecision`, for people. */
export const DEFAULT_PRECISION = "float16 on a GPU that has it, else float32";

/**
 * The precision in which a run computes: what was asked for, or else the fastest that the adapter does well. A GPU moves
 * half as many bytes in float16; on a processor every number costs a conversion.
 *
 * @throws {UsageError} for float16 where shaders have none.
 */
export function choosePrecision(info: AdapterInfo, asked: Precision | undefined): Precision {
  if (asked === "float16" && !info.float16) {
    throw new UsageError(
      `The adapter "${info.name}" has no half precision in shaders (shader-f16), which --dtype float16 needs. ` +
        `Give --dtype bfloat16 or float32.`,
    );
  }
  return asked ?? (info.float16 && !info.software ? "float16" : "float32");
}

/** By what losses are multiplied at first, as `torch.amp.GradScaler` does. */
export const LOSS_SCALE = 65536;
