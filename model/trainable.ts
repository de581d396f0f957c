import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Batch } from "./batch.ts";
import type { ParameterGroup, Parameters } from "./parameters.ts";

/** How much of a whole batch there is in all of its parts together. */
export interface BatchCounts {
  /** Labels. */
  readonly labels: number;
  /** Sequences. */
  readonly sequences: number;
}

/** A model that a trainer can train. */
export interface Trainable {
  /** The device it lives on. */
  readonly gpu: Gpu;
  /** All its parameters. */
  readonly parameterSets: readonly Parameters[];
  /** All groups of parameters that train. */
  readonly groups: readonly ParameterGroup[];
  /**
   * The parts of a batch's loss, each a tensor [1] times `share`.
   *
   * @param batch What to learn.
   * @param share What a batch's mean loss is multiplied by, 1 / (batches of an update).
   * @param features Features of the batch's pictures, where they are known already.
   * @param whole Over how much to take means where this batch is only a part of one.
   */
  losses(
    batch: Batch,
    share: number,
    features?: Tensor,
    whole?: BatchCounts,
  ): { loss: Tensor; auxLoss?: Tensor };
  /** Brings values back to where they belong after an update, where there is such a place. */
  constrain?(): void;
}
