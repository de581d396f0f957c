import { product } from "./matmul.ts";
import { sumOf } from "./reduce.ts";
import { type RowKernel, runRows } from "./row_kernel.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { f32, roundUp } from "./runtime/kernel.ts";
import { precisionOf } from "./runtime/precision.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { scaleBy } from "./scale_by.ts";

/** Bytes of logits that exist at once, if rows are not longer. */
const CHUNK_BYTES = 2 ** 25;
/** Chunks begin at multiples of this, as views of tensors must. */
const CHUNK_STEP = 64;
/** Factor on a row's gradient while float16 holds it, where numbers below 6e-5 lose digits and none is above 65504. */
const FLOAT16_WEIGHT = 1024;

/** Options of `crossEntropy`. */
export interface CrossEntropyOptions {
  /** Factor on every row's loss: 1 / (number of labels) gives their mean. */
  readonly weight?: number;
  /** A further factor for each row [R]. */
  readonly rowWeights?: Tensor;
  /** Rows whose logits exist at once, rounded up to a multiple of 64; chosen by the size of the vocabulary unless given. */
  readonly chunkRows?: number;
}

/** Writes each row's loss and turns its logits into their gradient, if that is wanted. */
function lossKernel(weighted: boolean): RowKernel {
  const rowWeight = weighted ? "weights[row]" : "1.0";
  return {
    name: `cross_entropy${weighted ? "/weighted" : ""}`,
    reads: ["targets: u32", ...weighted ? ["weights: f32"] : []],
    writes: ["logits: T", "losses: f32"],
    params: ["weight: f32", "gradient: u32", "gradientWeight: f32"],
    held: ["logits"],
    code: (each, size) => {
      const [chosen, columns, labels] = size === 4
        ? [
          "[start + label / 4u][label % 4u]",
          "vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u)",
          "vec4u(label)",
        ]
        : ["[start + label]", "i", "label"];
      return {
        reduce: `let label = targets[row];
  let chosen = logits${chosen};
  var most = T(-3.40282346e38);
  ${each("most = max(most, logits[at]);")}
  let top = maxOver(largest(most), lane);
  var sums = T(0.0);
  ${each("sums += exp(logits[at] - top);")}
  let sum = sumOver(total(sums), lane);
  storageBarrier(); // the label's logit, which others have read, is overwritten`,
        write:
          `if (lane == 0u) { losses[row] = p.weight * ${rowWeight} * (log(sum) + top - chosen); }
    if (p.gradient == 1u) {
      let weight = p.gradientWeight * ${rowWeight};
      let share = weight / sum;
      ${
            each(`let probability = exp(logits[at] - top) * share;
        logits[at] = probability - select(T(0.0), T(weight), ${columns} == ${labels});`)
          }
    }`,
      };
    },
  };
}

function chunkSize(gpu: Gpu, rows: number, width: number, wanted?: number): number {
  const { maxStorageBufferBindingSize } = gpu.device.limits;
  const most = wanted ?? Math.min(CHUNK_BYTES, maxStorageBufferBindingSize) / (4 * width);
  const largest = Math.max(CHUNK_STEP, Math.floor(most / CHUNK_STEP) * CHUNK_STEP);
  const chunks = Math.ceil(rows / largest);
  return Math.min(rows, roundUp(Math.ceil(rows / chunks), CHUNK_STEP));
}

interface Losses {
  rows: Tensor;
  /** Factor by which the gradients are still to be multiplied. */
  factor: number;
  dhidden?: Tensor;
  dhead?: Tensor;
}

/** The loss of each row, and with `gradients` what the sum's gradient is. Belongs to the innermost scope. */
function losses(
  hidden: Tensor,
  head: Tensor,
  targets: Uint32Array<ArrayBuffer>,
  { weight = 1, rowWeights, chunkRows }: CrossEntropyOptions,
  gradients: { hidden: boolean; head: boolean },
): Losses {
  const { gpu, rows, width } = hidden;
  const vocabulary = head.rows;
  if (head.width !== width || targets.length !== rows || (rowWeights?.size ?? rows) !== rows) {
    throw new ShapeError(
      `crossEntropy: hidden [${hidden.shape}], a head [${head.shape}], ${targets.length} targets ` +
        `and weights [${rowWeights?.shape ?? rows}] do not fit.`,
    );
  }
  const wrong = targets.findIndex((target) => target >= vocabulary);
  if (wrong >= 0) {
    throw new ShapeError(
      `Target ${wrong} is ${targets[wrong]}, but the head knows ${vocabulary} tokens.`,
    );
  }
  const precision = precisionOf(head);
  const [gradientWeight, factor] = precision === "float16"
    ? [FLOAT16_WEIGHT, weight / FLOAT16_WEIGHT]
    : [weight, 1];
  const out: Losses = {
    factor,
    rows: gpu.empty([rows], "float32", "row losses"),
    ...gradients.hidden && { dhidden: gpu.empty([rows, width], "float32", "gradient") },
    ...gradients.head && { dhead: gpu.empty(head.shape, "float32", "gradient") },
  };
  using _scope = gpu.scope();
  const labels = gpu.tensor(targets, [rows], "targets");
  const chunk = chunkSize(gpu, rows, vocabulary, chunkRows);
  const buffer = gpu.empty([chunk, vocabulary], "float32", "logits");
  const kernel = lossKernel(rowWeights !== undefined);
  for (let start = 0; start < rows; start += chunk) {
    const count = Math.min(chunk, rows - start);
    const part = (x: Tensor, n = 1) => x.view([count, n], start * n);
    const logits = buffer.view([count, vocabulary]);
    const x = part(hidden, width);
    product("NT", x, head, logits, { m: count, n: vocabulary, k: width });
    const wanted = Number(gradients.hidden || gradients.head);
    const read = [labels, ...rowWeights ? [rowWeights] : []];
    const tensors = [...read.map((x) => part(x)), logits, part(out.rows)];
    runRows(kernel, logits, tensors, [f32(weight), wanted, f32(gradientWeight)]);
    if (out.dhidden) {
      const dx = part(out.dhidden, width);
      product("NN", logits, head, dx, { m: count, n: width, k: vocabulary });
    }
    if (out.dhead) {
      const options = { m: vocabulary, n: width, k: count, accumulate: start > 0, precision };
      product("TN", logits, x, out.dhead, options);
    }
  }
  return out;
}

/**
 * The cross-entropy of a linear head's predictions: weight · Σ −log softmax(hidden · headᵀ)[target].
 *
 * Logits exist for a chunk of rows at a time. Under a tape the gradients are computed in the same pass and only
 * multiplied by the loss's own gradient later.
 *
 * @param hidden Rows [R, width].
 * @param head Weight of the head [vocabulary, width].
 * @param targets The right token of each row [R].
 * @param options Factors on the losses.
 * @returns The loss [1].
 */
export function crossEntropy(
  hidden: Tensor,
  head: Tensor,
  targets: Uint32Array<ArrayBuffer>,
  options: CrossEntropyOptions = {},
): Tensor {
  const { gpu } = hidden;
  const { tape } = gpu;
  const wanted = (input: Tensor) => tape !== undefined && input.requiresGrad;
  using scope = gpu.scope();
  const gradients = { hidden: wanted(hidden), head: wanted(head) };
  const { rows, factor, dhidden, dhead } = losses(hidden, head, targets, options, gradients);
  const loss = sumOf([rows]);
  const saved = [dhidden, dhead].filter((tensor) => tensor !== undefined);
  tape?.record("cross_entropy", loss, [hidden, head], saved, (dy, tape) => {
    if (dhidden) {
      scaleBy(dhidden, dy, factor);
      tape.accumulate(hidden, dhidden);
    }
    if (dhead) {
      const { grad, accumulate } = tape.target(head);
      scaleBy(dhead, dy, factor, grad, accumulate);
    }
  });
  return scope.keep(loss);
}

/** The cross-entropy of each row by itself [R], without gradient; see `crossEntropy`. */
export function rowLosses(
  hidden: Tensor,
  head: Tensor,
  targets: Uint32Array<ArrayBuffer>,
  options: CrossEntropyOptions = {},
): Tensor {
  using scope = hidden.gpu.scope();
  return scope.keep(losses(hidden, head, targets, options, { hidden: false, head: false }).rows);
}
