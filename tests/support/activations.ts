import type { Activation } from "../../kernels/activation.ts";

/** Φ(x) by Simpson's rule. */
function phi(x: number): number {
  const n = 64, h = x / n;
  const f = (t: number): number => Math.exp(-t * t / 2);
  let sum = f(0) + f(x);
  for (let i = 1; i < n; i++) sum += f(i * h) * (i % 2 ? 4 : 2);
  return 0.5 + sum * h / 3 / Math.sqrt(2 * Math.PI);
}

/** Each activation in float64. */
export const ACTIVATIONS: Record<Activation, (x: number) => number> = {
  gelu: (x) => x * phi(x),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  quick_gelu: (x) => x / (1 + Math.exp(-1.702 * x)),
  silu: (x) => x / (1 + Math.exp(-x)),
};
