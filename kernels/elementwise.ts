import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { f32 } from "./runtime/kernel.ts";
import { Tape } from "./runtime/tape.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry } from "./runtime/wgsl.ts";

const SIZE = 64;

/**
 * Runs `out[i] = expression` for every element of float32 tensors of one size. The expression may name the elements `a`
 * and `b` of the first and the second input, the parameter `s`,
 * and the type `T` of what it computes (one number or four). `out` may be the first input itself.
 */
export function elementwise(
  name: string,
  expression: string,
  inputs: readonly Tensor[],
  out: Tensor,
  s = 0,
): void {
  const { gpu, size } = out;
  for (const input of inputs) {
    if (input.size !== size) {
      throw new ShapeError(`${name}: [${input.shape}] and [${out.shape}] differ in size.`);
    }
  }
  const inPlace = inputs[0] === out;
  const width = size % 4 === 0 ? 4 : 1;
  const kernel = gpu.kernel(`${name}${inPlace ? "_in_place" : ""}/${width}`, () => {
    const type = width === 4 ? "vec4f" : "f32";
    const buffers = inPlace ? inputs : [...inputs, out];
    const target = inPlace ? 0 : inputs.length;
    return `alias T = ${type};
${
      buffers.map((_, i) =>
        `@group(0) @binding(${i}) var<storage, ${
          i === target ? "read_write" : "read"
        }> t${i}: array<T>;`
      ).join("\n")
    }
struct Params { n: u32, s: f32 }
@group(0) @binding(${buffers.length}) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let s = p.s;
    ${inputs.map((_, i) => `let ${"ab"[i]} = t${i}[i];`).join(" ")}
    t${target}[i] = ${expression};
  }`,
      )
    }`;
  });
  const count = size / width;
  const bindings = inPlace ? inputs : [...inputs, out];
  gpu.run(kernel, bindings, [count, f32(s)], Math.ceil(count / SIZE));
}

/** Adds `from` to `into`, in place, outside of the tape. */
export function addInto(into: Tensor, from: Tensor): void {
  elementwise("add", "a + b", [into, from], into);
}

/** Sets every element, outside of the tape. */
export function fill(x: Tensor, value: number): void {
  elementwise("fill", "T(s)", [x], x, value);
}

/**
 * Starts to record the operations on a device, for a backward pass.
 *
 * @param recomputes Whether the parts of a model that are marked by `checkpoint` are computed again there.
 *
 * ```ts ignore
 * using tape = startTape(gpu);
 * const loss = model.loss(batch);
 * backward(tape, loss);
 * ```
 */
export function startTape(gpu: Gpu, recomputes = false): Tape {
  return new Tape(gpu, addInto, recomputes);
}

/** Plays a tape backward from the parts of a loss, each with the gradient 1. */
export function backward(tape: Tape, ...losses: Tensor[]): void {
  const gpu = losses[0]!.gpu;
  using seed = gpu.detached(() => gpu.tensor(new Float32Array([1]), [1], "seed"));
  tape.backward(losses, seed);
}

/** The sum of two tensors of one shape. */
export function add(a: Tensor, b: Tensor): Tensor {
  const y = a.gpu.empty(a.shape);
  elementwise("add", "a + b", [a, b], y);
  a.gpu.tape?.record("add", y, [a, b], [], (dy, tape) => {
    tape.accumulate(a, dy);
    tape.accumulate(b, dy);
  });
  return y;
}

/** A tensor times a number. */
export function scale(x: Tensor, factor: number): Tensor {
  const y = x.gpu.empty(x.shape);
  elementwise("scale", "a * s", [x], y, factor);
  x.gpu.tape?.record("scale", y, [x], [], (dy, tape) => {
    const dx = x.gpu.empty(x.shape, "float32", "gradient");
    elementwise("scale", "a * s", [dy], dx, factor);
    tape.accumulate(x, dx);
  });
  return y;
}

/** A copy of a tensor. */
export function copy(x: Tensor): Tensor {
  const y = x.gpu.empty(x.shape, x.dtype);
  x.gpu.copy(x, y);
  x.gpu.tape?.record("copy", y, [x], [], (dy, tape) => tape.accumulate(x, dy));
  return y;
}

/** The same elements under another shape of equal size. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const y = x.view(shape);
  if (y.size !== x.size) throw new ShapeError(`reshape: [${x.shape}] does not fill [${shape}].`);
  x.gpu.tape?.record("reshape", y, [x], [], (dy, tape) => tape.accumulate(x, dy.view(x.shape)));
  return y;
}
