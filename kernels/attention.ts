import { tiledBackward } from "./attention/backward.ts";
import { tiledForward } from "./attention/forward.ts";
import { lanesBackward } from "./attention/lanes_backward.ts";
import { lanesForward } from "./attention/lanes_forward.ts";
import { takesLanes } from "./attention/lanes.ts";
import type { AttentionOptions } from "./attention/shape.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Tensor } from "./runtime/tensor.ts";
import type { Sequences } from "./sequences.ts";

export type { AttentionOptions };

/**
 * Scaled dot-product attention within each of several packed sequences: softmax(scale·QKᵀ)·V for every head, where each
 * group of H / H_kv query heads shares a head of keys and values. No matrix of scores is kept in memory.
 *
 * Vaswani et al., 2017; Ainslie et al., "GQA", 2023; Dao et al., "FlashAttention", 2022.
 *
 * ```ts ignore
 * const y = attention(qkv, packSequences(gpu, [12, 63]), { heads: 8, kvHeads: 2, headDim: 64, causal: true });
 * ```
 *
 * @param qkv Per row H queries, H_kv keys and H_kv values of width D [T, (H + 2·H_kv)·D].
 * @param sequences How the T rows divide into sequences.
 * @returns [T, H·D].
 * @throws {ShapeError} when shapes do not fit together, or D is not a multiple of 4 up to 128.
 */
export function attention(qkv: Tensor, sequences: Sequences, options: AttentionOptions): Tensor {
  const { heads, headDim } = options;
  checkHeads("attention", qkv, options);
  if (qkv.rows !== sequences.total) {
    throw new ShapeError(
      `attention: sequences of ${sequences.total} rows in all do not divide rows [${qkv.shape}].`,
    );
  }
  const { gpu, rows } = qkv;
  const scale = options.scale ?? 1 / Math.sqrt(headDim);
  const out = gpu.empty([rows, heads * headDim]);
  const lse = gpu.empty([rows, heads], "float32", "attention sums");
  const [forward, backward, tiles] = takesLanes(gpu, options.family)
    ? [lanesForward, lanesBackward, sequences.tiles]
    : [tiledForward, tiledBackward, sequences.furthestFirst];
  forward(qkv, qkv, tiles, options, scale, out, lse);
  gpu.tape?.record("attention", out, [qkv], [qkv, out, lse, tiles], (dy, tape) => {
    const { grad, accumulate } = tape.target(qkv);
    backward({ qkv, out, lse, dy, grad, accumulate }, tiles, options, scale);
  });
  return out;
}

/** Throws unless packed rows hold these heads. */
export function checkHeads(
  name: string,
  qkv: Tensor,
  { heads, kvHeads, headDim }: Pick<AttentionOptions, "heads" | "kvHeads" | "headDim">,
): void {
  if (headDim % 4 !== 0 || headDim > 128 || heads % kvHeads !== 0) {
    throw new ShapeError(
      `${name}: cannot have ${heads} heads of width ${headDim} over ${kvHeads} heads of keys; ` +
        `the width must be a multiple of 4 up to 128, and the first a multiple of the second.`,
    );
  }
  if (qkv.width !== (heads + 2 * kvHeads) * headDim) {
    throw new ShapeError(
      `${name}: rows [${qkv.shape}] do not hold ${heads} queries and ${kvHeads} keys and values of width ${headDim}.`,
    );
  }
}
