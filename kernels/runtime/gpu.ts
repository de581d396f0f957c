import { type AdapterInfo, chooseAdapter, openDevice } from "./adapter.ts";
import { DeviceError, OutOfMemoryError, ShapeError } from "./errors.ts";
import {
  type Binding,
  type Kernel,
  LeastRecentlyUsed,
  roundUp,
  type Workgroups,
} from "./kernel.ts";
import { formatBytes, MemoryPool, type MemoryUse, type Storage } from "./memory.ts";
import type { Profiler } from "./profiler.ts";
import { Scope } from "./scope.ts";
import type { Tape } from "./tape.ts";
import { type Dtype, DTYPE_BYTES, sizeOf, Tensor } from "./tensor.ts";
import { compilable } from "./wgsl.ts";

/** Host arrays that can be put on the device. */
export type HostArray =
  | Float32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

/**
 * A device: it makes tensors, runs kernels on them and reads them back.
 *
 * Commands are recorded and go to the device together with `submit` or `read`; they run in the order of recording.
 *
 * ```ts
 * import { Gpu } from "@glimpse/vlm";
 *
 * using gpu = await Gpu.open();
 * using x = gpu.tensor(new Float32Array([1, 2, 3]), [3]);
 * console.log(await gpu.read(x));
 * ```
 */
export class Gpu implements Disposable {
  /** The underlying device. */
  readonly device: GPUDevice;
  /** What the adapter is and can do. */
  readonly info: AdapterInfo;
  /** Records operations for the backward pass while it is set. */
  tape: Tape | undefined;
  /** Times every dispatch while it is set. */
  profiler: Profiler | undefined;
  /**
   * Hears of every kernel before the device compiles it, with the number of kernels so far. While it is set, what has been
   * recorded goes to the device at once with each new kernel, so that what is heard goes along with the compiling.
   */
  onKernel: ((name: string, count: number) => void) | undefined;
  readonly #memory: MemoryPool;
  readonly #scopes: Scope[] = [];
  readonly #kernels = new Map<string, Kernel>();
  readonly #pipelines = new Map<Kernel, { id: number; pipeline: GPUComputePipeline }>();
  readonly #uniforms = new LeastRecentlyUsed<{ id: number; buffer: GPUBuffer }>(
    8192,
    ({ buffer }) => buffer.destroy(),
  );
  readonly #bindGroups = new LeastRecentlyUsed<GPUBindGroup>(16384);
  readonly #textureIds = new WeakMap<GPUTexture, number>();
  #ids = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #fault: DeviceError | undefined;
  #closed = false;

  /** For `open`. */
  constructor(device: GPUDevice, info: AdapterInfo) {
    this.device = device;
    this.info = info;
    this.#memory = new MemoryPool(device);
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#fault ??= this.#explain((event as GPUUncapturedErrorEvent).error);
    });
    device.lost.then(({ message }) => {
      if (!this.#closed) {
        this.#fault = new DeviceError(`The device "${info.name}" was lost: ${message}`);
      }
    });
  }

  /**
   * Opens a device.
   *
   * @param device `gpu` (the default) for the best adapter, `software`, or a piece of an adapter's name.
   */
  static async open(device = "gpu"): Promise<Gpu> {
    return new Gpu(...await openDevice(await chooseAdapter(device)));
  }

  /** Bytes in use and kept for reuse. */
  get memory(): Readonly<MemoryUse> {
    return this.#memory.use;
  }

  /** Starts measuring `memory.peak` anew. */
  resetPeak(): void {
    this.#memory.resetPeak();
  }

  /** The largest holders of memory, as text. */
  memoryHolders(): string {
    return this.#memory.holders();
  }

  /** Opens a scope that owns the tensors made until it ends. */
  scope(): Scope {
    return new Scope(this.#scopes);
  }

  /** Runs `make` outside of every scope: what it makes belongs to the caller. */
  detached<T>(make: () => T): T {
    const scopes = this.#scopes.splice(0);
    try {
      return make();
    } finally {
      this.#scopes.unshift(...scopes);
    }
  }

  /** Puts a tensor into the innermost scope, if any. */
  adopt(tensor: Tensor): Tensor {
    this.#scopes.at(-1)?.own(tensor);
    return tensor;
  }

  /** A tensor with undefined contents. `label` says what it holds, in errors and reports. */
  empty(shape: readonly number[], dtype: Dtype = "float32", label = "activation"): Tensor {
    return this.#allocate(shape, dtype, label);
  }

  #allocate(shape: readonly number[], dtype: Dtype, label: string, idle = false): Tensor {
    const bytes = sizeOf(shape) * DTYPE_BYTES[dtype];
    const most = this.device.limits.maxStorageBufferBindingSize;
    if (!(bytes > 0)) throw new ShapeError(`A tensor cannot have the shape [${shape}] (${label}).`);
    if (bytes > most) {
      throw new OutOfMemoryError(
        `"${label}" of shape [${shape}] takes ${
          formatBytes(bytes)
        }, but kernels on this adapter see at most ` +
          `${formatBytes(most)} at once. Use a smaller batch or a shorter sequence.`,
      );
    }
    const storage = this.#memory.allocate(roundUp(bytes, 16), label, idle);
    return this.adopt(new Tensor(this, storage, shape, dtype));
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], dtype: Dtype = "float32", label = "zeros"): Tensor {
    const tensor = this.empty(shape, dtype, label);
    this.clear(tensor);
    return tensor;
  }

  /** A tensor with the given contents; the kind of its elements follows the array's (16 bits: `float16`). */
  tensor(data: HostArray, shape: readonly number[], label = "input"): Tensor {
    const dtype: Dtype = data instanceof Float32Array
      ? "float32"
      : data instanceof Uint16Array
      ? "float16"
      : data instanceof Int32Array
      ? "int32"
      : "uint32";
    const tensor = this.#allocate(shape, dtype, label, true);
    this.#upload(tensor, data);
    return tensor;
  }

  /** Overwrites a tensor's contents, in order with the commands recorded before. */
  write(tensor: Tensor, data: HostArray): void {
    this.submit(); // an upload overtakes recorded commands
    this.#upload(tensor, data);
  }

  #upload(tensor: Tensor, data: HostArray): void {
    if (data.byteLength !== tensor.bytes) {
      throw new ShapeError(
        `${data.byteLength} bytes do not fill a tensor [${tensor.shape}] of ${tensor.bytes} bytes.`,
      );
    }
    const whole = data.byteLength & ~3;
    this.device.queue.writeBuffer(
      tensor.storage.buffer,
      tensor.offset,
      data.buffer,
      data.byteOffset,
      whole,
    );
    if (whole < data.byteLength) {
      const tail = new Uint8Array(4);
      tail.set(new Uint8Array(data.buffer, data.byteOffset + whole, data.byteLength - whole));
      this.device.queue.writeBuffer(tensor.storage.buffer, tensor.offset + whole, tail);
    }
  }

  /** Sets a tensor's bytes to zero. */
  clear(tensor: Tensor): void {
    this.#commands().clearBuffer(tensor.storage.buffer, tensor.offset, roundUp(tensor.bytes, 4));
  }

  /** Copies the bytes of one tensor over another's of the same size. */
  copy(from: Tensor, to: Tensor): void {
    if (from.bytes !== to.bytes) {
      throw new ShapeError(`Cannot copy [${from.shape}] over [${to.shape}].`);
    }
    const { buffer } = from.storage;
    if (buffer === to.storage.buffer) {
      using scratch = this.detached(() => this.empty(from.shape, from.dtype, "copy"));
      this.copy(from, scratch);
      this.copy(scratch, to);
    } else {
      const bytes = roundUp(from.bytes, 4);
      this.#commands().copyBufferToBuffer(buffer, from.offset, to.storage.buffer, to.offset, bytes);
    }
  }

  /** Copies a matrix of float32 [rows, 4 * texels] into a texture of `rgba32float` texels. */
  copyToTexture(from: Tensor, texture: GPUTexture, rows: number, texels: number): void {
    this.#commands().copyBufferToTexture(
      {
        buffer: from.storage.buffer,
        offset: from.offset,
        bytesPerRow: texels * 16,
        rowsPerImage: rows,
      },
      { texture },
      [texels, rows],
    );
  }

  /** Gives a storage back; `Tensor.dispose` calls it. */
  free(storage: Storage): void {
    if (!this.#closed) this.#memory.release(storage);
  }

  /** The kernel under `key`, made at its first use. The key must name everything that its code depends on. */
  kernel(key: string, code: () => string): Kernel {
    let kernel = this.#kernels.get(key);
    if (!kernel) this.#kernels.set(key, kernel = { name: key, code: code() });
    return kernel;
  }

  /**
   * Records a dispatch.
   *
   * @param kernel The shader.
   * @param bindings What its bindings 0… are, in order.
   * @param params Parameters, the uniform at the next binding: whole numbers, or floats through `f32`. Empty for none.
   * @param workgroups How many workgroups; a single number too large for one dimension is folded into two.
   */
  run(
    kernel: Kernel,
    bindings: readonly Binding[],
    params: readonly number[],
    workgroups: Workgroups,
  ): void {
    const known = this.#pipelines.size;
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
    const group = this.#bindGroups.get(key, () =>
      this.device.createBindGroup({
        label: kernel.name,
        layout: pipeline.getBindGroupLayout(0),
        entries: resources.map((resource, binding) => ({ binding, resource })),
      }));
    const [x, y = 1, z = 1] = typeof workgroups === "number" ? this.#fold(workgroups) : workgroups;
    const pass = this.#computePass(kernel.name);
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y, z);
    if (this.profiler) this.#endPass();
    if (this.onKernel && this.#pipelines.size > known) {
      this.onKernel(kernel.name, known + 1);
      this.submit();
      // software adapters compile at the first dispatch, and Deno waits for that in this call
      void this.device.queue.onSubmittedWorkDone();
    }
  }

  /** Sends the recorded commands to the device. */
  submit(): void {
    this.check();
    if (!this.#encoder) return;
    this.#endPass();
    const collect = this.profiler?.resolve(this.#encoder);
    this.device.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    collect?.();
    this.#memory.submitted();
    this.#uniforms.trim();
    this.#bindGroups.trim();
  }

  /** Submits, then waits until the device has done everything. */
  async wait(): Promise<void> {
    this.submit();
    await this.device.queue.onSubmittedWorkDone();
    this.check();
  }

  /** Reads a float32 tensor. */
  async read(tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
    return new Float32Array(await this.readBytes(tensor));
  }

  /** Reads a uint32 tensor. */
  async readUint32(tensor: Tensor): Promise<Uint32Array<ArrayBuffer>> {
    return new Uint32Array(await this.readBytes(tensor));
  }

  /** Submits what has been recorded and reads a tensor's bytes. */
  async readBytes(tensor: Tensor): Promise<ArrayBuffer> {
    return (await this.readAll([tensor]))[0]!;
  }

  /** Submits what has been recorded and reads the bytes of several tensors at once. */
  async readAll(tensors: readonly Tensor[]): Promise<ArrayBuffer[]> {
    const starts = [0];
    for (const { bytes } of tensors) starts.push(starts.at(-1)! + roundUp(bytes, 4));
    const size = starts.at(-1)!;
    if (size === 0) return [];
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const staging = this.device.createBuffer({ size, usage, label: "readback" });
    const commands = this.#commands();
    tensors.forEach(({ storage, offset, bytes }, i) =>
      commands.copyBufferToBuffer(storage.buffer, offset, staging, starts[i]!, roundUp(bytes, 4))
    );
    const sizes = tensors.map(({ bytes }) => bytes);
    try {
      this.submit();
      await staging.mapAsync(GPUMapMode.READ);
      const mapped = staging.getMappedRange();
      return sizes.map((bytes, i) => mapped.slice(starts[i]!, starts[i]! + bytes));
    } catch (error) {
      await Promise.resolve();
      this.check();
      throw error;
    } finally {
      staging.destroy();
    }
  }

  /** Throws the error that the device has reported since, if any. */
  check(): void {
    if (this.#closed) throw new DeviceError("The device has been closed.");
    if (this.#fault) throw this.#fault;
  }

  /** Gives the memory kept for reuse back to the system. */
  trim(): void {
    this.submit();
    this.#memory.trim();
  }

  /** Closes the device and frees everything on it. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#memory.destroy();
    this.device.destroy();
  }

  #commands(): GPUCommandEncoder {
    this.#endPass();
    return this.#encoder ??= this.device.createCommandEncoder();
  }

  #computePass(name: string): GPUComputePassEncoder {
    if (this.#pass) return this.#pass;
    if (this.profiler?.full) this.submit();
    this.#encoder ??= this.device.createCommandEncoder();
    const timestampWrites = this.profiler?.next(name);
    return this.#pass = this.#encoder.beginComputePass({
      label: this.profiler ? name : "glimpse",
      ...(timestampWrites && { timestampWrites }),
    });
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  #pipeline(kernel: Kernel): { id: number; pipeline: GPUComputePipeline } {
    let entry = this.#pipelines.get(kernel);
    if (!entry) {
      const { name: label } = kernel;
      const code = compilable(kernel.code, this.info);
      const module = this.device.createShaderModule({ label, code });
      const compute = { module, entryPoint: "main" };
      const pipeline = this.device.createComputePipeline({ label, layout: "auto", compute });
      this.#pipelines.set(kernel, entry = { id: ++this.#ids, pipeline });
    }
    return entry;
  }

  #uniform(params: readonly number[]): { id: number; buffer: GPUBuffer } {
    return this.#uniforms.get(params.join(), () => {
      const size = roundUp(params.length * 4, 16);
      const usage = GPUBufferUsage.UNIFORM;
      const buffer = this.device.createBuffer({
        size,
        usage,
        mappedAtCreation: true,
        label: "parameters",
      });
      new Uint32Array(buffer.getMappedRange()).set(params);
      buffer.unmap();
      return { id: ++this.#ids, buffer };
    });
  }

  #fold(count: number): [number, number] {
    const most = this.device.limits.maxComputeWorkgroupsPerDimension;
    if (count <= most) return [count, 1];
    const y = Math.ceil(count / most);
    return [Math.ceil(count / y), y];
  }

  #explain(error: GPUError): DeviceError {
    if (error instanceof GPUOutOfMemoryError) {
      return new OutOfMemoryError(
        `The device "${this.info.name}" is out of memory with ${
          formatBytes(this.memory.live)
        } in use ` +
          `(${this.memoryHolders()}). Use a smaller batch or a shorter sequence. (${error.message})`,
      );
    }
    return new DeviceError(`The device "${this.info.name}" refused a command: ${error.message}`);
  }
}
