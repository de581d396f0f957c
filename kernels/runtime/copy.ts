import type { Gpu } from "./gpu.ts";
import { roundUp } from "./kernel.ts";
import type { Tensor } from "./tensor.ts";
import { entry } from "./wgsl.ts";

const SIZE = 256;

/**
 * Whether a kernel copies between two tensors: on a graphics card, where that takes a fifth of the time of the command for it
 * and leaves the pass open, if both begin where bindings may.
 */
export function copiesByKernel({ info, device }: Gpu, from: Tensor, to: Tensor): boolean {
  const step = device.limits.minStorageBufferOffsetAlignment;
  return !info.software && from.offset % step === 0 && to.offset % step === 0;
}

/** Copies the bytes of one tensor over another's in another buffer, sixteen at a time where there are whole sixteens. */
export function copyByKernel(gpu: Gpu, from: Tensor, to: Tensor): void {
  const size = from.bytes % 16 === 0 ? 16 : 4;
  const kernel = gpu.kernel(`copy/${size}`, () =>
    `alias T = ${size === 16 ? "vec4u" : "u32"};
struct Params { n: u32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  if (i < p.n) { y[i] = x[i]; }`,
      )
    }`);
  const n = roundUp(from.bytes, 4) / size;
  gpu.run(kernel, [from, to], [n], Math.ceil(n / SIZE));
}
