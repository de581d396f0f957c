import { roundUp } from "./kernel.ts";

const BYTES = 2 ** 20;

/** The parameters of recorded kernels, in one buffer, of which each dispatch sees its part by an offset. */
export class Parameters {
  /** Where they are on the device. */
  readonly buffer: GPUBuffer;
  readonly #device: GPUDevice;
  readonly #align: number;
  readonly #words = new Uint32Array(BYTES / 4);
  #end = 0;

  /** No parameters yet. */
  constructor(device: GPUDevice) {
    this.#device = device;
    this.#align = device.limits.minUniformBufferOffsetAlignment;
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    this.buffer = device.createBuffer({ size: BYTES, usage, label: "parameters" });
  }

  /** Whether what has been recorded must be submitted first. */
  get full(): boolean {
    return this.#end > BYTES / 2;
  }

  /** The byte at which a kernel's parameters begin. */
  place(params: readonly number[]): number {
    const place = this.#end;
    this.#words.set(params, place / 4);
    this.#end += roundUp(4 * params.length, this.#align);
    return place;
  }

  /** Sends them to the device, ahead of what is submitted next, and begins anew. */
  send(): void {
    if (this.#end > 0) {
      this.#device.queue.writeBuffer(this.buffer, 0, this.#words, 0, this.#end / 4);
    }
    this.#end = 0;
  }
}
