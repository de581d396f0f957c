import { assert } from "@std/assert";
import { startTape } from "../../kernels/elementwise.ts";
import type { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Tensor } from "../../kernels/runtime/tensor.ts";
import { type Seeded, seeded } from "./seeded.ts";

/** ‖a − b‖ / max(‖b‖, floor). */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>, floor = 1e-30): number {
  let difference = 0, norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  if (a.length !== b.length) return Infinity;
  return Math.sqrt(difference) / Math.max(Math.sqrt(norm), floor);
}

/** Asserts that two arrays are equal up to a relative error of their norms. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
  floor?: number,
): void {
  const error = relativeError(actual, expected, floor);
  assert(error <= tolerance, `${what}: relative error ${error} > ${tolerance}`);
}

/** One operation to be held against its reference. */
export interface OperationCase {
  /** Shown in failures. */
  name: string;
  /** The operation on the device. */
  op: (...inputs: Tensor[]) => Tensor;
  /** The same in float64: from the inputs' elements to the output's. */
  reference: (...inputs: Float64Array[]) => Float64Array;
  /** Shapes of the float32 inputs. */
  shapes: readonly (readonly number[])[];
  /** Which inputs a gradient is checked for; all unless given. */
  differentiable?: readonly boolean[];
  /** How inputs are drawn; standard normal unless given. */
  draw?: (random: Seeded, input: number) => number;
  /** Relative error allowed in the output and in the gradients. */
  tolerance?: number;
  /** Elements of each gradient compared at most, by central differences of the reference. */
  samples?: number;
}

/**
 * Compares an operation's output and gradients with its float64 reference on random inputs, and checks that no byte
 * stays in use. Gradients flow from a random projection of the output.
 */
export async function checkOperation(gpu: Gpu, c: OperationCase): Promise<void> {
  const random = seeded(c.name);
  const tolerance = c.tolerance ?? 1e-5;
  const before = gpu.memory.live;
  const hosts = c.shapes.map((shape, input) => {
    const n = shape.reduce((a, b) => a * b, 1);
    return Float32Array.from({ length: n }, () => c.draw?.(random, input) ?? random.normal());
  });
  const wide = hosts.map((host) => Float64Array.from(host));
  const expected = c.reference(...wide);
  const dyHost = Float32Array.from(expected, () => random.normal());
  {
    using _scope = gpu.scope();
    const inputs = hosts.map((host, i) => gpu.tensor(host, c.shapes[i]!));
    inputs.forEach((input, i) => input.requiresGrad = c.differentiable?.[i] ?? true);
    for (const input of inputs) {
      if (input.requiresGrad) input.grad = gpu.empty(input.shape, "float32", "gradient");
    }
    using tape = startTape(gpu);
    const y = c.op(...inputs);
    assertClose(await gpu.read(y), expected, tolerance, `${c.name} forward`);
    if (inputs.some((input) => input.requiresGrad)) {
      const dy = gpu.tensor(dyHost, y.shape);
      tape.backward([y], dy);
      const objective = (): number => {
        const out = c.reference(...wide);
        let sum = 0;
        for (let i = 0; i < out.length; i++) sum += out[i]! * dyHost[i]!;
        return sum;
      };
      for (const [i, input] of inputs.entries()) {
        if (!input.grad) continue;
        assert(input.gradFilled, `${c.name}: nothing flowed to input ${i}`);
        const gradient = await gpu.read(input.grad);
        const at = pick(random, input.size, c.samples ?? 40);
        const values = wide[i]!;
        const numeric = at.map((k) => {
          const kept = values[k]!, h = 1e-4 * Math.max(1, Math.abs(kept));
          values[k] = kept + h;
          const up = objective();
          values[k] = kept - h;
          const down = objective();
          values[k] = kept;
          return (up - down) / (2 * h);
        });
        assertClose(
          at.map((k) => gradient[k]!),
          numeric,
          tolerance * 10,
          `${c.name} gradient ${i}`,
        );
      }
    }
  }
  assert(gpu.memory.live === before, `${c.name}: ${gpu.memory.live - before} bytes left in use`);
}

function pick(random: Seeded, n: number, most: number): number[] {
  if (n <= most) return Array.from({ length: n }, (_, i) => i);
  const chosen = new Set([0, n - 1]);
  while (chosen.size < most) chosen.add(Math.floor(random.float() * n));
  return [...chosen];
}
