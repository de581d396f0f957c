import { crossEntropy } from "./cross_entropy.ts";
import { add, elementwise } from "./elementwise.ts";
import { sumOf } from "./reduce.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { scaleBy } from "./scale_by.ts";

/** y = x · exp(s) with s [1] on the device. */
function timesExp(x: Tensor, s: Tensor): Tensor {
  const { gpu } = x;
  using scope = gpu.scope();
  const factor = gpu.empty([1], "float32", "logit scale");
  elementwise("exp", "exp(a)", [s], factor);
  const y = gpu.empty(x.shape);
  scaleBy(x, factor, 1, y);
  gpu.tape?.record("times_exp", y, [x, s], [y, factor], (dy, tape) => {
    if (x.requiresGrad) {
      const { grad, accumulate } = tape.target(x);
      scaleBy(dy, factor, 1, grad, accumulate);
    }
    if (s.requiresGrad) {
      const products = gpu.empty(y.shape, "float32", "gradient");
      elementwise("multiply", "a * b", [dy, y], products);
      tape.accumulate(s, sumOf([products]));
    }
  });
  return scope.keep(y);
}

/**
 * The symmetric cross-entropy of pairs (InfoNCE): how well each picture finds its own text among all texts of the batch,
 * and each text its picture, averaged. With logits L = exp(s) · I · Tᵀ it is the mean over rows of −log softmax(L)ᵢᵢ and
 * that over columns, halved. Logits exist for a chunk of rows at a time, see `crossEntropy`.
 *
 * Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
 *
 * @param images Vectors of pictures [N, width], of length 1.
 * @param texts Vectors of their texts [N, width], likewise.
 * @param logitScale s, the logarithm of the inverse temperature [1].
 * @param weight Factor on the loss.
 * @returns The loss [1].
 */
export function contrastiveLoss(
  images: Tensor,
  texts: Tensor,
  logitScale: Tensor,
  weight = 1,
): Tensor {
  const { gpu, rows } = images;
  if (texts.rows !== rows || texts.width !== images.width || logitScale.size !== 1) {
    throw new ShapeError(
      `contrastiveLoss: pictures [${images.shape}], texts [${texts.shape}] and a scale ` +
        `[${logitScale.shape}] do not fit.`,
    );
  }
  using scope = gpu.scope();
  const own = Uint32Array.from({ length: rows }, (_, i) => i);
  const half = { weight: weight / (2 * rows) };
  const scaled = timesExp(images, logitScale);
  return scope.keep(
    add(crossEntropy(scaled, texts, own, half), crossEntropy(texts, scaled, own, half)),
  );
}
