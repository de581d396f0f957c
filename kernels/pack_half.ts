import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry } from "./runtime/wgsl.ts";

const SIZE = 64;

/**
 * Rounds float32 numbers to half precision, two to a word, outside of the tape. Needs no feature of the adapter.
 *
 * @param x An even number of elements, none beyond ±65504.
 * @returns uint32 [size / 2], the first of two numbers in the lower half.
 */
export function packHalf(x: Tensor): Tensor {
  const { gpu, size } = x;
  if (size % 2 !== 0) throw new ShapeError(`packHalf: [${x.shape}] has an odd number of elements.`);
  const packed = gpu.empty([size / 2], "uint32", "half");
  const kernel = halfKernel(gpu, "pack", "vec2f", "u32", "pack2x16float(source[i])");
  gpu.run(kernel, [x, packed], [size / 2], Math.ceil(size / 2 / SIZE));
  return packed;
}

/**
 * The numbers that `packHalf` packed, as float32, outside of the tape.
 *
 * @param shape Their shape.
 */
export function unpackHalf(packed: Tensor, shape: readonly number[]): Tensor {
  const { gpu, size } = packed;
  const x = gpu.empty(shape);
  if (x.size !== 2 * size) {
    throw new ShapeError(`unpackHalf: ${size} words do not hold a tensor [${shape}].`);
  }
  const kernel = halfKernel(gpu, "unpack", "u32", "vec2f", "unpack2x16float(source[i])");
  gpu.run(kernel, [packed, x], [size], Math.ceil(size / SIZE));
  return x;
}

function halfKernel(gpu: Gpu, name: string, from: string, to: string, value: string): Kernel {
  return gpu.kernel(`${name}_half`, () => `
@group(0) @binding(0) var<storage, read> source: array<${from}>;
@group(0) @binding(1) var<storage, read_write> result: array<${to}>;
struct Params { n: u32 }
@group(0) @binding(2) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) { result[i] = ${value}; }`,
    )
  }`);
}
