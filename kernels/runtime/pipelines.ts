import type { AdapterInfo } from "./adapter.ts";
import { type Binding, type Kernel, roundUp } from "./kernel.ts";
import { Parameters } from "./params.ts";
import { type CompiledKernel, compileKernel, type Compiling } from "./compile.ts";
import { Tensor } from "./tensor.ts";

/** A kernel with what is bound to it. */
export interface BoundKernel {
  /** The compiled kernel. */
  readonly pipeline: GPUComputePipeline;
  /** Its bindings. */
  readonly group: GPUBindGroup;
  /** The byte at which its parameters begin in the buffer of all parameters, if it has any. */
  readonly params: number | undefined;
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

/** A set of bindings, and the numbers of what is bound. */
interface Bound {
  readonly group: GPUBindGroup;
  readonly numbers: readonly number[];
}

/** Sets of bindings above which all are forgotten. */
const MOST_KEPT = 16384;

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
  /** By a hash of the numbers, of which one set at a time can be kept. */
  readonly #bound = new Map<number, Bound>();
  readonly #textureIds = new WeakMap<GPUTexture, number>();
  #ids = 0;

  /** No kernels yet; `heard` will hear of each one before it is compiled. */
  constructor(device: GPUDevice, info: AdapterInfo, heard: (kernel: Compiling) => void) {
    this.#device = device;
    const most = device.limits.maxStorageBufferBindingSize;
    this.#mostBound = most - most % 4;
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
    const numbers = [id];
    for (const binding of bindings) {
      if (binding instanceof Tensor) numbers.push(binding.storage.id, binding.offset);
      else numbers.push(this.#textureId(binding));
    }
    const hash = hashOf(numbers);
    let bound = this.#bound.get(hash);
    if (!bound || !isSame(bound.numbers, numbers)) {
      const group = this.#bindGroup(kernel, layout, bindings, params.length);
      this.#bound.set(hash, bound = { group, numbers });
    }
    const place = params.length > 0 ? this.parameters.place(params) : undefined;
    return { pipeline, group: bound.group, params: place };
  }

  /** The kernels that have been compiled since this was asked last. */
  takeNew(): readonly CompiledKernel[] {
    return this.#new.splice(0);
  }

  /** Sends the parameters ahead of the commands that are about to be submitted. */
  submitting(): void {
    this.parameters.send();
    if (this.#bound.size > MOST_KEPT) this.#bound.clear();
  }

  #textureId(texture: GPUTexture): number {
    let id = this.#textureIds.get(texture);
    if (!id) this.#textureIds.set(texture, id = ++this.#ids);
    return id;
  }

  #bindGroup(
    { name: label }: Kernel,
    layout: GPUBindGroupLayout,
    bindings: readonly Binding[],
    params: number,
  ): GPUBindGroup {
    this.made.bindGroups++;
    const resources = bindings.map((binding) => this.#resourceOf(binding));
    if (params > 0) {
      resources.push({ buffer: this.parameters.buffer, size: roundUp(4 * params, 16) });
    }
    const entries = resources.map((resource, binding) => ({ binding, resource }));
    return this.#device.createBindGroup({ label, layout, entries });
  }

  /** Of a tensor all that follows in its storage as well, so that tensors of other sizes share its bindings. */
  #resourceOf(binding: Binding): GPUBindingResource {
    if (!(binding instanceof Tensor)) return binding.createView();
    const { storage: { buffer, bytes }, offset } = binding;
    return { buffer, offset, size: Math.min(bytes - offset, this.#mostBound) };
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

function hashOf(numbers: readonly number[]): number {
  let hash = 0;
  for (const number of numbers) hash = Math.imul(hash ^ number, 0x9e3779b1);
  return hash;
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((number, i) => number === b[i]);
}
