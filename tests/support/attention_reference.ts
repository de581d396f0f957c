import type { AttentionOptions } from "../../kernels/attention.ts";

/** Attention over packed sequences in float64, and the gradient of its packed input if `dy` is given. */
export function attentionReference(
  qkv: ArrayLike<number>,
  lengths: readonly number[],
  { heads, kvHeads, headDim, causal, scale = 1 / Math.sqrt(headDim) }: AttentionOptions,
  dy?: ArrayLike<number>,
): { y: Float64Array; gradient: Float64Array } {
  const stride = (heads + 2 * kvHeads) * headDim, wide = heads * headDim;
  const total = lengths.reduce((a, b) => a + b, 0);
  const y = new Float64Array(total * wide), gradient = new Float64Array(total * stride);
  const dot = (a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number): number => {
    let sum = 0;
    for (let d = 0; d < headDim; d++) sum += a[i + d]! * b[j + d]!;
    return sum;
  };
  const add = (to: Float64Array, i: number, w: number, a: ArrayLike<number>, j: number): void => {
    for (let d = 0; d < headDim; d++) to[i + d]! += w * a[j + d]!;
  };
  for (let begin = 0, s = 0; s < lengths.length; begin += lengths[s++]!) {
    for (let row = begin; row < begin + lengths[s]!; row++) {
      const end = causal ? row + 1 : begin + lengths[s]!;
      for (let head = 0; head < heads; head++) {
        const q = row * stride + head * headDim, o = row * wide + head * headDim;
        const key = (j: number): number =>
          j * stride + (heads + Math.floor(head / (heads / kvHeads))) * headDim;
        const value = (j: number): number => key(j) + kvHeads * headDim;
        const scores: number[] = [];
        for (let j = begin; j < end; j++) scores.push(scale * dot(qkv, q, qkv, key(j)));
        const top = scores.reduce((a, b) => Math.max(a, b));
        const exps = scores.map((score) => Math.exp(score - top));
        const sum = exps.reduce((a, b) => a + b);
        exps.forEach((e, j) => add(y, o, e / sum, qkv, value(begin + j)));
        if (!dy) continue;
        const delta = dot(dy, o, y, o);
        exps.forEach((e, i) => {
          const p = e / sum, j = begin + i;
          const ds = scale * p * (dot(dy, o, qkv, value(j)) - delta);
          add(gradient, q, ds, qkv, key(j));
          add(gradient, key(j), ds, qkv, q);
          add(gradient, value(j), p, dy, o);
        });
      }
    }
  }
  return { y, gradient };
}
