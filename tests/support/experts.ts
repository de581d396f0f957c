/** How tokens choose among experts, in float64. */
export interface Choices {
  /** Probabilities [T, E]. */
  scores: Float64Array;
  /** Experts chosen [T, k], the best first. */
  chosen: number[];
  /** Their weights [T, k]. */
  weights: number[];
}

/** Softmax, then the k largest, the lower number among equal ones, their scores divided by their sum if wanted. */
export function chooseReference(
  logits: ArrayLike<number>,
  experts: number,
  choices: number,
  normalize: boolean,
): Choices {
  const scores = new Float64Array(logits.length), chosen: number[] = [], weights: number[] = [];
  for (let start = 0; start < logits.length; start += experts) {
    const row = Array.from({ length: experts }, (_, e) => logits[start + e]!);
    const exps = row.map((v) => Math.exp(v - Math.max(...row)));
    const total = exps.reduce((a, b) => a + b);
    exps.forEach((v, e) => scores[start + e] = v / total);
    const best = [...row.keys()].sort((a, b) => exps[b]! - exps[a]! || a - b).slice(0, choices);
    const picked = best.map((e) => scores[start + e]!);
    const sum = normalize && choices > 1 ? picked.reduce((a, b) => a + b) : 1;
    chosen.push(...best);
    weights.push(...picked.map((s) => s / sum));
  }
  return { scores, chosen, weights };
}

/** y = x · Wᵀ for one row, with W [n, k] from element `start` of `w`. */
function project(x: ArrayLike<number>, w: ArrayLike<number>, start: number, n: number): number[] {
  return Array.from({ length: n }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < x.length; j++) sum += x[j]! * w[start + i * x.length + j]!;
    return sum;
  });
}

/** The experts' outputs, weighted and added to the residual, in float64. */
export function expertsReference(
  x: Float64Array,
  { chosen, weights }: Choices,
  gateUp: Float64Array,
  down: Float64Array,
  width: number,
  inner: number,
  residual?: Float64Array,
): Float64Array {
  const y = residual ? Float64Array.from(residual) : new Float64Array(x.length);
  const choices = chosen.length * width / x.length;
  chosen.forEach((expert, choice) => {
    const start = Math.floor(choice / choices) * width;
    const row = x.subarray(start, start + width);
    const both = project(row, gateUp, expert * 2 * inner * width, 2 * inner);
    const hidden = both.slice(0, inner).map((g, i) => g / (1 + Math.exp(-g)) * both[inner + i]!);
    project(hidden, down, expert * width * inner, width)
      .forEach((v, i) => y[start + i]! += weights[choice]! * v);
  });
  return y;
}

/** The loss that keeps experts evenly used, in float64. */
export function balanceReference(
  { scores, chosen }: Choices,
  experts: number,
  lengths: readonly number[],
  alpha: number,
): number {
  const choices = chosen.length / (scores.length / experts);
  let loss = 0, start = 0;
  for (const length of lengths) {
    for (let e = 0; e < experts; e++) {
      const count = chosen.slice(start * choices, (start + length) * choices)
        .filter((expert) => expert === e).length;
      let mean = 0;
      for (let t = start; t < start + length; t++) mean += scores[t * experts + e]! / length;
      loss += alpha / lengths.length * count * experts / (length * choices) * mean;
    }
    start += length;
  }
  return loss;
}
