import type { HostTensor } from "./host_tensor.ts";

/** The tensors of a weight file by name, in the file's order, and the file's own remarks. */
export interface WeightFile {
  /** Tensors by name. They are read when asked, so the file must stay open until then. */
  readonly tensors: Map<string, HostTensor>;
  /** Free text that the writer left, such as `format: "pt"`. */
  readonly metadata: Record<string, string>;
}

/**
 * How many elements a shape from a file has, or nothing if it is not a list of whole numbers of
 * at least 0 whose product is exact.
 */
export function checkedElementCount(shape: readonly unknown[]): number | undefined {
  let count = 1;
  for (const extent of shape) {
    if (typeof extent !== "number" || !Number.isSafeInteger(extent) || extent < 0) return undefined;
    count *= extent;
  }
  return Number.isSafeInteger(count) ? count : undefined;
}
