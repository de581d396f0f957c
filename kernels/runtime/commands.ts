import type { DeviceClock } from "./device_clock.ts";
import { roundUp, type Workgroups } from "./kernel.ts";
import type { BoundKernel } from "./pipelines.ts";
import type { Profiler } from "./profiler.ts";
import type { Tensor } from "./tensor.ts";

/** Commands recorded for one submission: as few passes as possible, and copies between them. */
export class Commands {
  /** Times every dispatch while it is set, each then in a pass of its own. */
  profiler: Profiler | undefined;
  /** Times every submission while it is set. */
  clock: DeviceClock | undefined;
  /** Kernels recorded, and times that commands were sent. */
  readonly counts = { dispatches: 0, submits: 0 };
  readonly #device: GPUDevice;
  readonly #mostWorkgroups: number;
  /** Deno takes offsets from an array of this type four times as fast. */
  readonly #offset = new Uint32Array(1);
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;

  /** No commands yet. */
  constructor(device: GPUDevice) {
    this.#device = device;
    this.#mostWorkgroups = device.limits.maxComputeWorkgroupsPerDimension;
  }

  /** Where copies are recorded. */
  encoder(): GPUCommandEncoder {
    this.#endPass();
    return this.#encoder ??= this.#begin();
  }

  /** Sets a tensor's bytes to zero. */
  clear({ storage, offset, bytes }: Tensor): void {
    this.encoder().clearBuffer(storage.buffer, offset, roundUp(bytes, 4));
  }

  /** Copies the bytes of one tensor over another's in another buffer. */
  copy(from: Tensor, to: Tensor): void {
    const [source, target] = [from.storage.buffer, to.storage.buffer];
    const bytes = roundUp(from.bytes, 4);
    this.encoder().copyBufferToBuffer(source, from.offset, target, to.offset, bytes);
  }

  /** Copies columns of a matrix of float32 to a place in a texture of `rgba32float` texels. */
  copyToTexture(
    { storage: { buffer }, offset, shape }: Tensor,
    column: number,
    columns: number,
    texture: GPUTexture,
    [x, y]: readonly [number, number],
  ): void {
    const [rows, width] = shape as [number, number];
    const place = { offset: offset + 4 * column, bytesPerRow: 4 * width, rowsPerImage: rows };
    const to = { texture, origin: [x, y] };
    this.encoder().copyBufferToTexture({ buffer, ...place }, to, [columns / 4, rows]);
  }

  /** Records a dispatch. */
  dispatch(
    name: string,
    { pipeline, group, params }: BoundKernel,
    workgroups: Workgroups,
  ): void {
    const [x, y, z] = typeof workgroups === "number" ? this.#fold(workgroups) : workgroups;
    const pass = this.#computePass(name);
    pass.setPipeline(pipeline);
    if (params === undefined) pass.setBindGroup(0, group);
    else {
      this.#offset[0] = params;
      pass.setBindGroup(0, group, this.#offset, 0, 1);
    }
    pass.dispatchWorkgroups(x, y, z);
    this.counts.dispatches++;
    if (this.profiler) this.#endPass();
  }

  /** Whether nothing has been recorded. */
  get empty(): boolean {
    return !this.#encoder;
  }

  /** Sends what has been recorded to the device. */
  submit(): void {
    if (!this.#encoder) return;
    this.#endPass();
    const collect = this.profiler?.resolve(this.#encoder);
    this.clock?.end(this.#encoder);
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    this.counts.submits++;
    collect?.();
  }

  #begin(): GPUCommandEncoder {
    const encoder = this.#device.createCommandEncoder();
    this.clock?.begin(encoder);
    return encoder;
  }

  #computePass(name: string): GPUComputePassEncoder {
    if (this.#pass) return this.#pass;
    this.#encoder ??= this.#begin();
    const timestampWrites = this.profiler?.next(name);
    return this.#pass = this.#encoder.beginComputePass({
      label: this.profiler ? name : "glimpse",
      ...(timestampWrites && { timestampWrites }),
    });
  }

  /** As many workgroups or a few more, in two dimensions where one does not hold them. */
  #fold(count: number): readonly [x: number, y?: number, z?: number] {
    const most = this.#mostWorkgroups;
    if (count <= most) return [count];
    const y = Math.ceil(count / most);
    return [Math.ceil(count / y), y];
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }
}
