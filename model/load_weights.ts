import { FormatError } from "../kernels/runtime/errors.ts";
import type { HostTensor } from "./host_tensor.ts";
import type { WeightFile } from "./weight_file.ts";

/** How the tensors of a file are matched with those that a model expects. */
export interface MatchOptions {
  /** What the file is called in the error: usually its path. */
  readonly source: string;
  /** Tensors of the file that the model has no use for, on purpose. */
  readonly ignore?: (name: string) => boolean;
  /** Names that stand for the same tensor as another, such as `lm_head.weight`, and which that is. */
  readonly tied?: ReadonlyMap<string, string>;
}

/**
 * Finds for every tensor that a model expects the one in the file: all of them, no others, and
 * each of its shape. A tied name may be absent; where only the tied name is there, it serves.
 *
 * @param expected Shapes by name.
 * @returns the tensors under their expected names, in the order expected.
 * @throws {FormatError} that lists every missing, unexpected and misshapen tensor.
 */
export function matchWeights(
  expected: ReadonlyMap<string, readonly number[]>,
  file: WeightFile,
  options: MatchOptions,
): Map<string, HostTensor> {
  const { source, ignore, tied = new Map<string, string>() } = options;
  const matched = new Map<string, HostTensor>();
  const complaints: string[] = [];
  const aliases = Map.groupBy(tied.keys(), (alias) => tied.get(alias)!);
  const compare = (name: string, tensor: HostTensor, shape: readonly number[]) => {
    if (tensor.shape.length === shape.length && shape.every((n, i) => n === tensor.shape[i])) {
      return;
    }
    complaints.push(`misshapen: ${name} is [${tensor.shape}], but the model has [${shape}]`);
  };
  for (const [name, shape] of expected) {
    const names = [name, ...aliases.get(name) ?? []];
    const found = names.filter((other) => file.tensors.has(other));
    for (const other of found) compare(other, file.tensors.get(other)!, shape);
    const tensor = file.tensors.get(found[0] ?? "");
    if (tensor) matched.set(name, { ...tensor, name });
    else complaints.push(`missing: ${name} [${shape}]`);
  }
  for (const [name, tensor] of file.tensors) {
    if (expected.has(name) || expected.has(tied.get(name) ?? "") || ignore?.(name)) continue;
    complaints.push(`unexpected: ${name} [${tensor.shape}]`);
  }
  if (complaints.length) {
    throw new FormatError(
      `${source} does not fit the model (${complaints.length} differences):\n  ` +
        complaints.join("\n  "),
    );
  }
  return matched;
}
