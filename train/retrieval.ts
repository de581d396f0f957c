import type { Loader } from "../data/loader.ts";
import { contrastiveLoss } from "../kernels/contrastive.ts";
import { product } from "../kernels/matmul.ts";
import { concatRows, gatherRows } from "../kernels/rows.ts";
import { DataError } from "../kernels/runtime/errors.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Clip } from "../model/clip.ts";

/** How often what belongs to a picture or a text is among the first that are found for it. */
export interface Recall {
  /** Pictures whose text comes first. */
  image_to_text_r1: number;
  /** Pictures whose text is among the first five. */
  image_to_text_r5: number;
  /** Texts of which a picture comes first. */
  text_to_image_r1: number;
  /** Texts of which a picture is among the first five. */
  text_to_image_r5: number;
  /** Pictures. */
  images: number;
  /** Texts that differ from each other. */
  texts: number;
}

/** How a CLIP model does on pairs that it does not learn from. */
export interface RetrievalResult extends Recall {
  /** Mean contrastive loss of their batches. */
  val_loss: number;
}

/** Similarities that are read from the device at once. */
const CHUNK = 2 ** 22;

/**
 * Measures a CLIP model on all pairs of a loader: its loss, and zero-shot retrieval among all of them.
 *
 * @throws {DataError} where there is none.
 */
export async function retrieval(
  clip: Clip,
  loader: Pick<Loader, "batches">,
): Promise<RetrievalResult> {
  const { gpu } = clip;
  using held = new DisposableStack();
  const images: Tensor[] = [], texts: Tensor[] = [], losses: Tensor[] = [], sizes: number[] = [];
  const owners: number[] = [], known = new Map<string, number>();
  const ofText: number[][] = []; // the pictures of each text
  for await (const { batch } of loader.batches()) {
    if (batch.samples === 0) continue;
    using scope = gpu.scope();
    const vectors = clip.encode(batch);
    const loss = contrastiveLoss(vectors.images, vectors.texts, clip.parameters.get("logit_scale"));
    images.push(held.use(scope.release(vectors.images)));
    texts.push(held.use(scope.release(vectors.texts)));
    losses.push(held.use(scope.release(loss)));
    sizes.push(batch.samples);
    let at = 0;
    for (const length of batch.lengths) {
      const key = batch.ids.subarray(at, at += length).join();
      const text = known.get(key) ?? known.size;
      known.set(key, text);
      (ofText[text] ??= []).push(owners.length);
      owners.push(text);
    }
    gpu.submit();
  }
  if (owners.length === 0) throw new DataError("None of the pairs to validate with can be used.");
  using _scope = gpu.scope();
  const all = concatRows(images);
  const firsts = Uint32Array.from(ofText, ([first]) => first!);
  const distinct = gatherRows(concatRows(texts), gpu.tensor(firsts, [firsts.length]));
  const toText = await ranks(all, distinct, owners.map((text) => [text]));
  const toImage = await ranks(distinct, all, ofText);
  const read = await gpu.readAll(losses);
  const sum = read.reduce((sum, bytes, i) => sum + new Float32Array(bytes)[0]! * sizes[i]!, 0);
  const within = (ranks: number[], k: number) =>
    ranks.filter((rank) => rank < k).length / ranks.length;
  return {
    val_loss: sum / owners.length,
    image_to_text_r1: within(toText, 1),
    image_to_text_r5: within(toText, 5),
    text_to_image_r1: within(toImage, 1),
    text_to_image_r5: within(toImage, 5),
    images: owners.length,
    texts: known.size,
  };
}

/**
 * For each query how many candidates come before the best right one. What is as similar comes before it, so that a model
 * to which all is alike finds nothing.
 */
async function ranks(
  queries: Tensor,
  candidates: Tensor,
  right: readonly (readonly number[])[],
): Promise<number[]> {
  const { gpu, rows, width } = queries;
  const n = candidates.rows;
  const found: number[] = [];
  const step = Math.max(1, Math.floor(CHUNK / n));
  for (let start = 0; start < rows; start += step) {
    using _scope = gpu.scope();
    const count = Math.min(step, rows - start);
    const some = Uint32Array.from({ length: count }, (_, i) => start + i);
    const similar = gpu.empty([count, n], "float32", "similarities");
    const part = gatherRows(queries, gpu.tensor(some, [count]));
    product("NT", part, candidates, similar, { m: count, n, k: width });
    const values = await gpu.read(similar);
    for (let i = 0; i < count; i++) {
      const row = values.subarray(i * n, (i + 1) * n);
      const own = right[start + i]!;
      const best = own.reduce((most, k) => Math.max(most, row[k]!), -Infinity);
      const before = (value: number) => !(value < best); // so that NaN finds nothing
      const others = own.filter((k) => before(row[k]!)).length;
      found.push(row.reduce((count, value) => count + Number(before(value)), 0) - others);
    }
  }
  return found;
}
