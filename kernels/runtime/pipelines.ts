import type { AdapterInfo } from "./adapter.ts";
import { type Binding, type Kernel, LeastRecentlyUsed, roundUp } from "./kernel.ts";
import { sizeClass } from "./memory.ts";
import { Parameters } from "./params.ts";
import { type CompiledKernel, compileKernel, type Compiling } from "./compile.ts";
import { Tensor } from "./tensor.ts";

/** A kernel with what is bound to it. */
export interface BoundKernel {
  /** The compiled kernel. */
  readonly pipeline: GPUComputePipeline;
  /** Its bindings. */
  readonly group: GPUBindGroup;
  /** Where its parameters begin in the buffer of all parameters; nothing where it has none. */
  readonly offsets: number[];
}

/** How many things a device has been asked to make; the rest came from caches. */
export interface MadeCounts {
  /** Kernels compiled. */
  pipelines: number;
  /** Sets of bindings. */
  bindGroups: number;
}

interface Compiled extends CompiledKernel {
  readonly id: number;
}

/** Compiled kernels, and what has been bound to them before. */
export class Pipelines {
  /** What has been made so far. */
  readonly made: MadeCounts = { pipelines: 0, bindGroups: 0 };
  /** The parameters of the kernels that have been bound since the last submission. */
  readonly parameters: Parameters;
  readonly #device: GPUDevice;
  readonly #mostBound: number;
  readonly #info: AdapterInfo;
  readonly #heard: (kernel: Compiling) => void;
  readonly #kernels = new Map<string, Kernel>();
  readonly #compiled = new Map<Kernel, Compiled>();
  readonly #new: CompiledKernel[] = [];
  readonly #bindGroups = new LeastRecentlyUsed<GPUBindGroup>(16384);
  readonly #textureIds = new WeakMap<GPUTexture, number>();
  #ids = 0;

  /** No kernels yet; `heard` will hear of each one before it is compiled. */
  constructor(device: GPUDevice, info: AdapterInfo, heard: (kernel: Compiling) => void) {
    this.#device = device;
    this.#mostBound = device.limits.maxStorageBufferBindingSize;
    this.#info = info;
    this.#heard = heard;
    this.parameters = new Parameters(device);
  }

  /** The kernel under `key`, made at its first use. */
  kernel(key: string, code: () => string): Kernel {
    let kernel = this.#kernels.get(key);
    if (!kernel) this.#kernels.set(key, kernel = { name: key, code: code() });
    return kernel;
  }

  /** A kernel with its bindings and then, where there are any, its parameters. */
  bind(kernel: Kernel, bindings: readonly Binding[], params: readonly number[]): BoundKernel {
    const { id, pipeline, layout } = this.#compile(kernel);
    let key = `${id}`;
    for (const binding of bindings) key += this.#keyOf(binding);
    const group = this.#bindGroups.get(key, () => {
      this.made.bindGroups++;
      const resources = bindings.map((binding) => this.#resourceOf(binding));
      if (params.length > 0) {
        const { buffer } = this.parameters;
        resources.push({ buffer, size: roundUp(params.length * 4, 16) });
      }
      return this.#device.createBindGroup({
        label: kernel.name,
        layout,
        entries: resources.map((resource, binding) => ({ binding, resource })),
      });
    });
    return { pipeline, group, offsets: params.length > 0 ? [this.parameters.place(params)] : [] };
  }

  /** The kernels that have been compiled since this was asked last. */
  takeNew(): readonly CompiledKernel[] {
    return this.#new.splice(0);
  }

  /** Sends the parameters ahead of the commands that are about to be submitted, and forgets what has long not been used. */
  submitting(): void {
    this.parameters.send();
    this.#bindGroups.trim();
  }

  #keyOf(binding: Binding): string {
    if (binding instanceof Tensor) {
      return `,${binding.storage.id}:${binding.offset}:${this.#boundSize(binding)}`;
    }
    let texture = this.#textureIds.get(binding);
    if (!texture) this.#textureIds.set(binding, texture = ++this.#ids);
    return `,t${texture}`;
  }

  #resourceOf(binding: Binding): GPUBindingResource {
    if (!(binding instanceof Tensor)) return binding.createView();
    const { storage: { buffer }, offset } = binding;
    return { buffer, offset, size: this.#boundSize(binding) };
  }

  /** Bytes of a tensor that a kernel sees: with what its storage was rounded up by, so that tensors of nearly one size share bindings. */
  #boundSize({ storage, offset, bytes }: Tensor): number {
    const size = Math.min(roundUp(bytes, 16), storage.bytes - offset);
    const whole = offset === 0 && storage.bytes <= this.#mostBound &&
      sizeClass(size) === storage.bytes;
    return whole ? storage.bytes : size;
  }

  #compile(kernel: Kernel): Compiled {
    let entry = this.#compiled.get(kernel);
    if (!entry) {
      this.#heard({ name: kernel.name, number: ++this.made.pipelines });
      const compiled = compileKernel(this.#device, kernel, this.#info);
      this.#compiled.set(kernel, entry = { ...compiled, id: ++this.#ids });
      this.#new.push(entry);
    }
    return entry;
  }
}
