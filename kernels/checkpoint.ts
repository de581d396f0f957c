import type { Gpu } from "./runtime/gpu.ts";
import type { Tensor } from "./runtime/tensor.ts";

/**
 * Marks a part of a model of which a tape that `recomputes` keeps only the inputs: for the backward pass the part is
 * computed again. Gradients are the same to the last bit; memory falls by what the part would have kept.
 *
 * Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
 *
 * ```ts ignore
 * const [h] = checkpoint(gpu, [x], () => [block(x)]);
 * ```
 *
 * @param inputs The tensors that it reads beside parameters.
 * @param compute Runs it, always alike. What it returns belongs to the innermost scope, or to none.
 * @returns What `compute` returned.
 */
export function checkpoint<T extends readonly Tensor[]>(
  gpu: Gpu,
  inputs: readonly Tensor[],
  compute: () => T,
): T {
  return gpu.tape?.recomputes ? gpu.tape.checkpoint(inputs, compute) : compute();
}
