/**
 * The learning rate of a step: half a cosine from 1.1 times the given rate down to a tenth of it, as the original has
 * it, after an optional linear warm-up.
 *
 * @param step The micro-step over all epochs, from 1.
 * @param total All micro-steps.
 * @param rate The given rate.
 * @param warmup Micro-steps over which the rate rises from 0.
 */
export function learningRate(step: number, total: number, rate: number, warmup = 0): number {
  const cosine = rate / 10 + 0.5 * rate * (1 + Math.cos(Math.PI * step / total));
  return step < warmup ? cosine * step / warmup : cosine;
}
