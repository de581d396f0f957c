import { type AdapterInfo, chooseAdapter, openDevice } from "./adapter.ts";
import { Commands } from "./commands.ts";
import type { Compiling } from "./compile.ts";
import { CompileAhead } from "./compile_ahead.ts";
import { copiesByKernel, copyByKernel } from "./copy.ts";
import type { DeviceClock } from "./device_clock.ts";
import { OutOfMemoryError, ShapeError } from "./errors.ts";
import { Faults } from "./faults.ts";
import { type Binding, type Kernel, roundUp, type Workgroups } from "./kernel.ts";
import { formatBytes, MemoryPool, type MemoryUse, type Storage } from "./memory.ts";
import { type MadeCounts, Pipelines } from "./pipelines.ts";
import type { Profiler } from "./profiler.ts";
import { Scope } from "./scope.ts";
import type { Tape } from "./tape.ts";
import { type Dtype, DTYPE_BYTES, sizeOf, Tensor } from "./tensor.ts";
import { dtypeOf, type HostArray, Readback, StagingPool, upload } from "./transfer.ts";
import { Turns } from "./turns.ts";

/** Reads what is on its way from the device. */
export type PendingRead = (() => Promise<ArrayBuffer[]>) & Disposable;

/** What a device has been asked to do so far. */
export interface DeviceCounts extends Readonly<MadeCounts> {
  /** Kernels run. */
  readonly dispatches: number;
  /** Times that commands were sent. */
  readonly submits: number;
  /** Times that the host waited for numbers. */
  readonly readbacks: number;
}

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
  /**
   * Hears of every kernel when it is made, where kernels are compiled ahead also before it is compiled, and with nothing
   * when all that have been recorded are.
   */
  onCompile: ((kernel?: Compiling) => void) | undefined;
  readonly #memory: MemoryPool;
  readonly #staging: StagingPool;
  readonly #faults: Faults;
  readonly #scopes: Scope[] = [];
  readonly #pipelines: Pipelines;
  readonly #commands: Commands;
  readonly #ahead: CompileAhead | undefined;
  readonly #freed: GPUTexture[] = [];
  readonly #turns = new Turns();
  readonly #mostBound: number;
  #readbacks = 0;

  /** For `open`. */
  constructor(device: GPUDevice, info: AdapterInfo, ahead?: CompileAhead) {
    this.device = device;
    this.info = info;
    this.#ahead = ahead;
    this.#mostBound = device.limits.maxStorageBufferBindingSize;
    this.#memory = new MemoryPool(device);
    this.#staging = new StagingPool(device);
    this.#faults = new Faults(device, info.name, this.#memory);
    this.#pipelines = new Pipelines(device, info, (kernel) => this.onCompile?.(kernel));
    this.#commands = new Commands(device);
  }

  /**
   * Opens a device.
   *
   * @param device `gpu` (the default) for the best adapter, `software`, or a piece of an adapter's name.
   * @param compilers Kernels to compile at a time, on an adapter that computes on the processor and keeps what it has
   *   compiled in a cache on disk; without it, each is compiled at its first use.
   */
  static async open(device = "gpu", compilers = 0): Promise<Gpu> {
    const open = async () => await openDevice(await chooseAdapter(device));
    const [own, info] = await open();
    if (!info.software || compilers === 0) return new Gpu(own, info);
    const opened = await Promise.allSettled(Array.from({ length: compilers - 1 }, open));
    const helpers = opened.flatMap((one) => one.status === "fulfilled" ? [one.value[0]] : []);
    return new Gpu(own, info, new CompileAhead(info, own, helpers));
  }

  /** Times every dispatch while it is set. */
  get profiler(): Profiler | undefined {
    return this.#commands.profiler;
  }

  set profiler(profiler: Profiler | undefined) {
    this.#commands.profiler = profiler;
  }

  /** Times every submission while it is set; set it when nothing is recorded. */
  get clock(): DeviceClock | undefined {
    return this.#commands.clock;
  }

  set clock(clock: DeviceClock | undefined) {
    this.#commands.clock = clock;
  }

  /** What the device has been asked to do so far. */
  get counts(): DeviceCounts {
    return { ...this.#pipelines.made, ...this.#commands.counts, readbacks: this.#readbacks };
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
    const most = this.#mostBound;
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
    const tensor = this.#allocate(shape, dtypeOf(data), label, true);
    upload(this.device.queue, tensor, data);
    return tensor;
  }

  /** Overwrites a tensor's contents, in order with the commands recorded before. */
  write(tensor: Tensor, data: HostArray): void {
    this.submit(); // an upload overtakes recorded commands
    upload(this.device.queue, tensor, data);
  }

  /** Sets a tensor's bytes to zero. */
  clear(tensor: Tensor): void {
    this.#commands.clear(tensor);
  }

  /** Copies the bytes of one tensor over another's of the same size. */
  copy(from: Tensor, to: Tensor): void {
    if (from.bytes !== to.bytes) {
      throw new ShapeError(`Cannot copy [${from.shape}] over [${to.shape}].`);
    }
    if (from.storage.buffer === to.storage.buffer) {
      using scratch = this.detached(() => this.empty(from.shape, from.dtype, "copy"));
      this.copy(from, scratch);
      this.copy(scratch, to);
    } else if (copiesByKernel(this, from, to)) {
      copyByKernel(this, from, to);
    } else {
      this.#commands.copy(from, to);
    }
  }

  /** Copies columns of a matrix of float32 to a place in a texture of `rgba32float` texels. */
  copyToTexture(
    from: Tensor,
    column: number,
    columns: number,
    texture: GPUTexture,
    place: readonly [x: number, y: number],
  ): void {
    this.#commands.copyToTexture(from, column, columns, texture, place);
  }

  /** Gives a storage back; `Tensor.dispose` calls it. */
  free(storage: Storage): void {
    if (!this.#faults.closed) this.#memory.release(storage);
  }

  /** Frees a texture, once what has been recorded with it is on its way. */
  freeTexture(texture: GPUTexture): void {
    if (this.#commands.empty) texture.destroy();
    else this.#freed.push(texture);
  }

  /**
   * The kernel under `key`, made at its first use. The key must name everything that its code depends on.
   *
   * @param code Puts its text together. Whatever that takes belongs inside: it would else be done at each call.
   */
  kernel(key: string, code: () => string): Kernel {
    return this.#pipelines.kernel(key, code);
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
    if (this.#pipelines.parameters.full || this.profiler?.full) this.submit();
    const bound = this.#pipelines.bind(kernel, bindings, params);
    this.#commands.dispatch(kernel.name, bound, workgroups);
  }

  /** Sends the recorded commands to the device. */
  submit(): void {
    this.check();
    if (this.#commands.empty) return;
    const compiled = this.#pipelines.takeNew();
    if (compiled.length > 0) {
      this.#ahead?.compile(compiled, (kernel) => this.onCompile?.(kernel));
      this.onCompile?.();
    }
    this.#pipelines.submitting();
    this.#commands.submit();
    for (const texture of this.#freed.splice(0)) texture.destroy();
    this.#memory.submitted();
  }

  /** Submits, then waits until the device has done everything. */
  async wait(): Promise<void> {
    this.check();
    const end = new Readback(this.#staging, this.#commands.encoder(), []);
    this.submit();
    await this.#arrival(end);
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
    if (tensors.length === 0) return [];
    const read = this.recordRead(tensors);
    this.submit();
    return await read();
  }

  /**
   * Records copies of tensors to the host.
   *
   * @returns Waits for them and gives their bytes; to be called after `submit`, or else disposed of. On Deno the call
   * itself lasts until the device has done all that has been submitted. Timers and sockets have their turn before its
   * promise comes.
   */
  recordRead(tensors: readonly Tensor[]): PendingRead {
    this.#readbacks++;
    const readback = new Readback(this.#staging, this.#commands.encoder(), tensors);
    const read = () => this.#arrival(readback);
    return Object.assign(read, { [Symbol.dispose]: () => readback[Symbol.dispose]() });
  }

  /** What arrives, or the fault of the device for which it did not, or is not what it should be. */
  async #arrival(readback: Readback): Promise<ArrayBuffer[]> {
    try {
      return await readback.bytes();
    } catch (error) {
      await this.#faults.told();
      throw error;
    } finally {
      await this.#turns.next(readback.waited); // faults are told in a turn
      this.check();
    }
  }

  /** Throws the error that the device has reported since, if any. */
  check(): void {
    this.#faults.check();
  }

  /** Gives the memory kept for reuse back to the system. */
  trim(): void {
    this.submit();
    this.#memory.trim();
    this.#staging.trim();
  }

  /** Closes the device and frees everything on it. */
  [Symbol.dispose](): void {
    if (this.#faults.closed) return;
    this.#faults.close();
    this.#ahead?.[Symbol.dispose]();
    this.#memory.destroy();
    this.#staging.trim();
    this.device.destroy();
  }
}
