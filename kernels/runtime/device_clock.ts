import type { Gpu } from "./gpu.ts";
import type { Tensor } from "./tensor.ts";

/** When a device began what was submitted at once, and when it had done it, in its ticks. */
export type Span = readonly [begin: bigint, end: bigint];

/** Spans that are kept in one buffer. */
const KEPT = 256;

/**
 * Notes by the device's clock when it works on each submission. Give it to `Gpu.clock`, run, then ask for the spans.
 *
 * What lies between submissions, in which the device may wait for the host, is in none of them.
 */
export class DeviceClock implements Disposable {
  readonly #gpu: Gpu;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #kept: Tensor[] = [];
  #count = 0;

  /** A clock of a device that has `timestamp-query`; see `Gpu.info.timestamps`. */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.#queries = gpu.device.createQuerySet({ type: "timestamp", count: 2 });
    const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
    this.#resolved = gpu.device.createBuffer({ size: 16, usage, label: "timestamps" });
  }

  /** Notes the time before the first command of an encoder. */
  begin(encoder: GPUCommandEncoder): void {
    this.#note(encoder, { beginningOfPassWriteIndex: 0 });
  }

  /** Notes the time after the last command of an encoder. */
  end(encoder: GPUCommandEncoder): void {
    this.#note(encoder, { endOfPassWriteIndex: 1 });
    const at = this.#count++ % KEPT;
    if (at === 0) {
      const make = () => this.#gpu.empty([KEPT, 4], "uint32", "timestamps");
      this.#kept.push(this.#gpu.detached(make));
    }
    const { storage: { buffer }, offset } = this.#kept.at(-1)!;
    encoder.resolveQuerySet(this.#queries, 0, 2, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, buffer, offset + 16 * at, 16);
  }

  /** Submits what has been recorded, waits for the device, and stops: the span of each submission. */
  async spans(): Promise<Span[]> {
    this.#gpu.submit();
    this.#stop();
    const stamps = (await this.#gpu.readAll(this.#kept)).flatMap((bytes) => [
      ...new BigUint64Array(bytes),
    ]);
    return Array.from({ length: this.#count }, (_, i) => [stamps[2 * i]!, stamps[2 * i + 1]!]);
  }

  /** Frees its buffers. */
  [Symbol.dispose](): void {
    this.#stop();
    for (const tensor of this.#kept) tensor.dispose();
    this.#queries.destroy();
    this.#resolved.destroy();
  }

  /** An empty pass: times can be written at the beginning or end of one alone. */
  #note(encoder: GPUCommandEncoder, index: Partial<GPUComputePassTimestampWrites>): void {
    const timestampWrites = { querySet: this.#queries, ...index };
    encoder.beginComputePass({ label: "timestamp", timestampWrites }).end();
  }

  #stop(): void {
    if (this.#gpu.clock === this) this.#gpu.clock = undefined;
  }
}
