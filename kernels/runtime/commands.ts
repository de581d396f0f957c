import type { BoundKernel } from "./pipelines.ts";
import type { Profiler } from "./profiler.ts";

/** Commands recorded for one submission: as few passes as possible, and copies between them. */
export class Commands {
  /** Times every dispatch while it is set, each then in a pass of its own. */
  profiler: Profiler | undefined;
  readonly #device: GPUDevice;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;

  /** No commands yet. */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Where copies are recorded. */
  encoder(): GPUCommandEncoder {
    this.#endPass();
    return this.#encoder ??= this.#device.createCommandEncoder();
  }

  /** Records a dispatch. */
  dispatch(
    name: string,
    { pipeline, group, offsets }: BoundKernel,
    [x, y, z]: readonly [number, number, number],
  ): void {
    const pass = this.#computePass(name);
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group, offsets);
    pass.dispatchWorkgroups(x, y, z);
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
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    collect?.();
  }

  #computePass(name: string): GPUComputePassEncoder {
    if (this.#pass) return this.#pass;
    this.#encoder ??= this.#device.createCommandEncoder();
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
}
