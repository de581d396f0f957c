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

/** The bytes of some tensors on their way to the host. */
export class Readback implements Disposable {
  readonly #staging: GPUBuffer;
  readonly #ranges: readonly { start: number; bytes: number }[];

  /** Records copies of tensors, not all of which are empty. */
  constructor(device: GPUDevice, commands: GPUCommandEncoder, tensors: readonly Tensor[]) {
    let size = 0;
    this.#ranges = tensors.map(({ bytes }) => {
      const start = size;
      size += roundUp(bytes, 4);
      return { start, bytes };
    });
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    this.#staging = device.createBuffer({ size, usage, label: "readback" });
    tensors.forEach(({ storage, offset, bytes }, i) => {
      const { start } = this.#ranges[i]!;
      commands.copyBufferToBuffer(storage.buffer, offset, this.#staging, start, roundUp(bytes, 4));
    });
  }

  /** The bytes of each, once what has been recorded is submitted. */
  async bytes(): Promise<ArrayBuffer[]> {
    await this.#staging.mapAsync(GPUMapMode.READ);
    const mapped = this.#staging.getMappedRange();
    return this.#ranges.map(({ start, bytes }) => mapped.slice(start, start + bytes));
  }

  /** Frees its buffer. */
  [Symbol.dispose](): void {
    this.#staging.destroy();
  }
}
