import { ShapeError } from "./errors.ts";
import { roundUp } from "./kernel.ts";
import type { Dtype, Tensor } from "./tensor.ts";

/** Host arrays that can be put on the device. */
export type HostArray =
  | Float32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

/** The kind of a tensor's elements that a host array becomes. */
export function dtypeOf(data: HostArray): Dtype {
  if (data instanceof Float32Array) return "float32";
  if (data instanceof Uint16Array) return "float16";
  return data instanceof Int32Array ? "int32" : "uint32";
}

/** Overwrites a tensor's contents, ahead of all commands that have not been submitted. */
export function upload(
  queue: GPUQueue,
  { storage, offset, shape, bytes }: Tensor,
  data: HostArray,
): void {
  if (data.byteLength !== bytes) {
    throw new ShapeError(
      `${data.byteLength} bytes do not fill a tensor [${shape}] of ${bytes} bytes.`,
    );
  }
  const whole = data.byteLength & ~3;
  queue.writeBuffer(storage.buffer, offset, data.buffer, data.byteOffset, whole);
  if (whole === bytes) return;
  const tail = new Uint8Array(4);
  tail.set(new Uint8Array(data.buffer, data.byteOffset + whole, bytes - whole));
  queue.writeBuffer(storage.buffer, offset + whole, tail);
}

/** Bytes up to which a buffer is kept for other reads, and how many of each size. */
const MOST_KEPT = { bytes: 2 ** 24, buffers: 2 };

/** A buffer that the host can read, and whether it has done so before. */
interface Staging {
  readonly buffer: GPUBuffer;
  seasoned: boolean;
}

/** Buffers through which bytes reach the host, kept by size for other reads. */
export class StagingPool {
  readonly #device: GPUDevice;
  readonly #idle = new Map<number, Staging[]>();

  /** A pool on one device. */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** A buffer of at least `bytes` bytes. */
  take(bytes: number): Staging {
    const size = bytes > MOST_KEPT.bytes ? bytes : Math.max(256, 2 ** Math.ceil(Math.log2(bytes)));
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    return this.#idle.get(size)?.pop() ??
      { buffer: this.#device.createBuffer({ size, usage, label: "readback" }), seasoned: false };
  }

  /** Takes a buffer back that is not mapped, though commands may still write to it. */
  give(staging: Staging): void {
    const { buffer } = staging;
    const same = this.#idle.get(buffer.size) ?? [];
    if (buffer.size > MOST_KEPT.bytes || same.length === MOST_KEPT.buffers) buffer.destroy();
    else this.#idle.set(buffer.size, [...same, staging]);
  }

  /** Destroys the buffers kept. Call it only when no recorded command waits to be submitted. */
  trim(): void {
    for (const same of this.#idle.values()) for (const { buffer } of same) buffer.destroy();
    this.#idle.clear();
  }
}

/** The bytes of some tensors on their way to the host. */
export class Readback implements Disposable {
  /** Whether its promise has been waited for. */
  waited = false;
  readonly #pool: StagingPool;
  readonly #ranges: readonly { start: number; bytes: number }[];
  readonly #size: number;
  #staging: Staging | undefined;

  /** Records copies of tensors, not all of which are empty; of none, what arrives after all that was recorded before. */
  constructor(pool: StagingPool, commands: GPUCommandEncoder, tensors: readonly Tensor[]) {
    let size = 0;
    this.#ranges = tensors.map(({ bytes }) => {
      const start = size;
      size += roundUp(bytes, 4);
      return { start, bytes };
    });
    this.#pool = pool;
    this.#size = size || 4;
    this.#staging = pool.take(this.#size);
    const { buffer } = this.#staging;
    if (size === 0) commands.clearBuffer(buffer, 0, this.#size);
    tensors.forEach(({ storage, offset, bytes }, i) => {
      const { start } = this.#ranges[i]!;
      commands.copyBufferToBuffer(storage.buffer, offset, buffer, start, roundUp(bytes, 4));
    });
  }

  /**
   * The bytes of each, once what has been recorded is submitted. To be asked for once.
   *
   * On Deno a buffer is mapped when `mapAsync` returns, and its promise comes 10 ms later. So a buffer is looked into at
   * once; elsewhere that is an error, and the promise is waited for. Deno ends when it is tried with a buffer of which no
   * promise has come yet.
   */
  async bytes(): Promise<ArrayBuffer[]> {
    const staging = this.#staging!;
    this.#staging = undefined;
    const { buffer } = staging;
    try {
      const mapped = buffer.mapAsync(GPUMapMode.READ, 0, this.#size);
      mapped.catch(() => {}); // what has been read early no longer needs it
      let range = staging.seasoned ? tryRange(buffer, this.#size) : undefined;
      if (!range) {
        await mapped;
        staging.seasoned = this.waited = true;
        range = buffer.getMappedRange(0, this.#size);
      }
      const copies = this.#ranges.map(({ start, bytes }) => range.slice(start, start + bytes));
      buffer.unmap();
      this.#pool.give(staging);
      return copies;
    } catch (error) {
      buffer.destroy();
      throw error;
    }
  }

  /** Gives its buffer back, unless its bytes have been asked for. */
  [Symbol.dispose](): void {
    if (this.#staging) this.#pool.give(this.#staging);
    this.#staging = undefined;
  }
}

/** The bytes of a buffer if it is mapped. */
function tryRange(buffer: GPUBuffer, size: number): ArrayBuffer | undefined {
  try {
    return buffer.getMappedRange(0, size);
  } catch {
    return undefined;
  }
}
