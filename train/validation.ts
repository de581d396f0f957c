import type { Loader } from "../data/loader.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Vlm } from "../model/vlm.ts";
import { ALONE, type Communicator } from "./communicator.ts";
import type { PictureEncoder } from "./feature_cache.ts";

/** How a model does on samples that it does not learn from. */
export interface ValidationResult {
  /** Mean cross-entropy of the answers' tokens. */
  val_loss: number;
  /** The same with each picture replaced by another sample's; absent where there were none to exchange. What it is above `val_loss` shows that the model sees. */
  blind_loss?: number;
}

/**
 * Measures a model on all samples of a loader, of whose batches each rank has a part. Pictures are encoded anew unless
 * an encoder is given.
 */
export async function validate(
  vlm: Vlm,
  loader: Loader,
  encoder?: PictureEncoder,
  ranks: Communicator = ALONE,
): Promise<ValidationResult> {
  const { gpu } = vlm;
  const losses: [seeing: Tensor, blind: Tensor | undefined, labels: number][] = [];
  for await (const { batch } of loader.batches()) {
    if (batch.labelRows.length === 0) continue;
    using known = await encoder?.features(batch);
    using scope = gpu.scope();
    const count = batch.pictureCount;
    const features = known ?? (count > 0 ? vlm.encodePictures(batch.pictures, count) : undefined);
    const weight = 1;
    const seeing = scope.release(vlm.loss(batch, weight, features));
    const exchanged = features && count > 1 ? exchange(features, count) : undefined;
    const blind = exchanged && scope.release(vlm.loss(batch, weight, exchanged));
    losses.push([seeing, blind, batch.labelRows.length]);
    gpu.submit();
  }
  const tensors = losses.flatMap(([seeing, blind]) => blind ? [seeing, blind] : [seeing]);
  const values = (await gpu.readAll(tensors)).map((bytes) => new Float32Array(bytes)[0]!);
  for (const tensor of tensors) tensor.dispose();
  const sums = new Float64Array(4);
  for (const [, blind, labels] of losses) {
    sums[0]! += values.shift()!;
    sums[1]! += labels;
    if (!blind) continue;
    sums[2]! += values.shift()!;
    sums[3]! += labels;
  }
  const [seen = 0, labels = 0, blind = 0, blindLabels = 0] = await ranks.sum(sums);
  return {
    val_loss: seen / labels,
    ...blindLabels > 0 && { blind_loss: blind / blindLabels },
  };
}

/** The features of pictures, each in the place of the one before. */
function exchange(features: Tensor, count: number): Tensor {
  const patches = features.rows / count;
  const rows = Uint32Array.from({ length: features.rows }, (_, i) => (i + patches) % features.rows);
  return gatherRows(features, features.gpu.tensor(rows, [rows.length]));
}
