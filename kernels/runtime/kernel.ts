import type { Tensor } from "./tensor.ts";

/** A compute shader with the entry point `main`. */
export interface Kernel {
  /** Its name in errors and profiles. */
  readonly name: string;
  /** WGSL. Bindings 0… are the tensors and textures in the order of the call, the last is the uniform of parameters if there is one. */
  readonly code: string;
}

/** What can be bound to a kernel. */
export type Binding = Tensor | GPUTexture;

/** Number of workgroups: one number is folded into two dimensions where it exceeds the device's limit. */
export type Workgroups = number | readonly [number, number] | readonly [number, number, number];

/** The bits of a float32, to be passed among the parameters of a kernel. */
export function f32(value: number): number {
  BITS.setFloat32(0, value);
  return BITS.getUint32(0);
}

const BITS = new DataView(new ArrayBuffer(4));

/** Rounds `n` up to a multiple of `step`. */
export function roundUp(n: number, step: number): number {
  return Math.ceil(n / step) * step;
}
