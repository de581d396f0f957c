import type { AdapterInfo } from "./adapter.ts";
import { type CompiledKernel, compileKernel, type Compiling } from "./compile.ts";

/** Milliseconds that a kernel from the cache stays below, by far, and one that is compiled above. */
const COMPILED = 10;

/**
 * Compiles kernels ahead of their use, several at a time, for drivers that compute on the processor.
 *
 * Such a driver makes machine code at a kernel's first dispatch, a large kernel's for seconds, on the only thread of the
 * device, and keeps it in a cache that other devices read. So each of several devices dispatches some of the kernels,
 * with no workgroups.
 */
export class CompileAhead implements Disposable {
  readonly #info: AdapterInfo;
  readonly #own: GPUDevice;
  readonly #helpers: readonly GPUDevice[];

  /** Compiles for a device, with the help of others of its adapter, which end with this. */
  constructor(info: AdapterInfo, own: GPUDevice, helpers: readonly GPUDevice[]) {
    this.#info = info;
    this.#own = own;
    this.#helpers = helpers;
    for (const helper of helpers) {
      // What a helper cannot do, the device does at the kernel's first use.
      helper.addEventListener("uncapturederror", (event) => event.preventDefault());
    }
  }

  /**
   * Compiles kernels of the device, the smallest, by which it is seen whether the cache has them, then the largest first,
   * and waits for all; `heard` hears of each one that is begun.
   */
  compile(kernels: readonly CompiledKernel[], heard: (kernel: Compiling) => void): void {
    const size = ({ kernel }: CompiledKernel) => kernel.code.length;
    const [smallest, ...others] = kernels.toSorted((a, b) => size(a) - size(b));
    let number = 0;
    const compile = (compiled: CompiledKernel, device: GPUDevice): void => {
      const { kernel } = compiled;
      heard({ name: kernel.name, number: ++number, of: kernels.length });
      const isOwn = device === this.#own;
      dispatchNothing(device, isOwn ? compiled : compileKernel(device, kernel, this.#info));
    };
    waitFor(this.#own);
    const start = performance.now();
    compile(smallest!, this.#own);
    waitFor(this.#own);
    const isCached = performance.now() - start < COMPILED;
    const devices = isCached ? [this.#own] : [this.#own, ...this.#helpers];
    others.reverse().forEach((kernel, i) => compile(kernel, devices[i % devices.length]!));
    devices.forEach(waitFor);
  }

  /** Ends the helpers. */
  [Symbol.dispose](): void {
    for (const helper of this.#helpers) helper.destroy();
  }
}

/** Waits for what a device does, on Deno in the call itself; so does what is asked of a device that still compiles. */
function waitFor({ queue }: GPUDevice): void {
  void queue.onSubmittedWorkDone();
}

/** Dispatches a kernel with no workgroups, bound to next to nothing. */
function dispatchNothing(device: GPUDevice, compiled: CompiledKernel): void {
  const { kernel: { name: label }, pipeline, layout, entries } = compiled;
  const bound = entries.map(({ buffer, storageTexture }) =>
    buffer
      ? device.createBuffer({
        label,
        size: 1024,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.UNIFORM,
      })
      : device.createTexture({
        label,
        size: [1, 1],
        format: storageTexture?.format ?? "rgba32float",
        usage: storageTexture ? GPUTextureUsage.STORAGE_BINDING : GPUTextureUsage.TEXTURE_BINDING,
      })
  );
  const resources = bound.map((one): GPUBindingResource =>
    "createView" in one ? one.createView() : { buffer: one }
  );
  const group = device.createBindGroup({
    label,
    layout,
    entries: resources.map((resource, binding) => ({ binding, resource })),
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass({ label });
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group, entries.some(({ buffer }) => buffer?.hasDynamicOffset) ? [0] : []);
  pass.dispatchWorkgroups(0);
  pass.end();
  device.queue.submit([encoder.finish()]);
  for (const one of bound) one.destroy();
}
