import type { AdapterInfo } from "./adapter.ts";
import { type Binding, type Kernel, LeastRecentlyUsed, roundUp } from "./kernel.ts";
import { Tensor } from "./tensor.ts";
import { compilable } from "./wgsl.ts";

/** A kernel with what is bound to it. */
export interface BoundKernel {
  /** The compiled kernel. */
  readonly pipeline: GPUComputePipeline;
  /** Its bindings. */
  readonly group: GPUBindGroup;
}

/** How many things a device has been asked to make, where the rest came from caches. */
export interface MadeCounts {
  /** Kernels compiled. */
  pipelines: number;
  /** Sets of bindings. */
  bindGroups: number;
  /** Sets of parameters. */
  uniforms: number;
}

/** Compiled kernels, and what has been bound to them before. */
export class Pipelines {
  /** What has been made so far. */
  readonly made: MadeCounts = { pipelines: 0, bindGroups: 0, uniforms: 0 };
  readonly #device: GPUDevice;
  readonly #info: AdapterInfo;
  readonly #kernels = new Map<string, Kernel>();
  readonly #pipelines = new Map<Kernel, { id: number; pipeline: GPUComputePipeline }>();
  readonly #uniforms = new LeastRecentlyUsed<{ id: number; buffer: GPUBuffer }>(
    8192,
    ({ buffer }) => buffer.destroy(),
  );
  readonly #bindGroups = new LeastRecentlyUsed<GPUBindGroup>(16384);
  readonly #textureIds = new WeakMap<GPUTexture, number>();
  #ids = 0;

  /** No kernels yet. */
  constructor(device: GPUDevice, info: AdapterInfo) {
    this.#device = device;
    this.#info = info;
  }

  /** The kernel under `key`, made at its first use. */
  kernel(key: string, code: () => string): Kernel {
    let kernel = this.#kernels.get(key);
    if (!kernel) this.#kernels.set(key, kernel = { name: key, code: code() });
    return kernel;
  }

  /** A kernel with its bindings and then, where there are any, its parameters. */
  bind(kernel: Kernel, bindings: readonly Binding[], params: readonly number[]): BoundKernel {
    const { id, pipeline } = this.#pipeline(kernel);
    let key = `${id}`;
    const resources: GPUBindingResource[] = [];
    for (const binding of bindings) {
      if (binding instanceof Tensor) {
        const { storage, offset } = binding;
        const size = Math.min(roundUp(binding.bytes, 16), storage.bytes - offset);
        key += `,${storage.id}:${offset}:${size}`;
        resources.push({ buffer: storage.buffer, offset, size });
      } else {
        let texture = this.#textureIds.get(binding);
        if (!texture) this.#textureIds.set(binding, texture = ++this.#ids);
        key += `,t${texture}`;
        resources.push(binding.createView());
      }
    }
    if (params.length > 0) {
      const uniform = this.#uniform(params);
      key += `,u${uniform.id}`;
      resources.push({ buffer: uniform.buffer });
    }
    const group = this.#bindGroups.get(key, () => {
      this.made.bindGroups++;
      return this.#device.createBindGroup({
        label: kernel.name,
        layout: pipeline.getBindGroupLayout(0),
        entries: resources.map((resource, binding) => ({ binding, resource })),
      });
    });
    return { pipeline, group };
  }

  /** Forgets what has long not been used. Call it only when no recorded command waits to be submitted. */
  trim(): void {
    this.#uniforms.trim();
    this.#bindGroups.trim();
  }

  #pipeline(kernel: Kernel): { id: number; pipeline: GPUComputePipeline } {
    let entry = this.#pipelines.get(kernel);
    if (!entry) {
      const { name: label } = kernel;
      const code = compilable(kernel.code, this.#info);
      const module = this.#device.createShaderModule({ label, code });
      const compute = { module, entryPoint: "main" };
      const pipeline = this.#device.createComputePipeline({ label, layout: "auto", compute });
      this.#pipelines.set(kernel, entry = { id: ++this.#ids, pipeline });
      this.made.pipelines++;
    }
    return entry;
  }

  #uniform(params: readonly number[]): { id: number; buffer: GPUBuffer } {
    return this.#uniforms.get(params.join(), () => {
      const buffer = this.#device.createBuffer({
        size: roundUp(params.length * 4, 16),
        usage: GPUBufferUsage.UNIFORM,
        mappedAtCreation: true,
        label: "parameters",
      });
      new Uint32Array(buffer.getMappedRange()).set(params);
      buffer.unmap();
      this.made.uniforms++;
      return { id: ++this.#ids, buffer };
    });
  }
}
