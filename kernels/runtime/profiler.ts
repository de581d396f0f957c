import type { Gpu } from "./gpu.ts";

/** Time that one kernel took in all its dispatches. */
export interface KernelTime {
  /** The kernel's name. */
  name: string;
  /** Number of dispatches. */
  calls: number;
  /** Milliseconds on the device. */
  milliseconds: number;
}

const SLOTS = 2048;

/**
 * Times every dispatch with the device's clock. Give it to `Gpu.profiler`, run, then ask for the table.
 *
 * Each dispatch gets a pass of its own meanwhile, so the whole is slower than without.
 */
export class Profiler implements Disposable {
  readonly #gpu: Gpu;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  #names: string[] = [];
  readonly #times = new Map<string, KernelTime>();
  readonly #pending: Promise<void>[] = [];

  /** A profiler on a device that has `timestamp-query`; see `Gpu.info.timestamps`. */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
    this.#queries = gpu.device.createQuerySet({ type: "timestamp", count: SLOTS });
    const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
    this.#resolved = gpu.device.createBuffer({ size: SLOTS * 8, usage, label: "timestamps" });
  }

  /** Whether the commands so far must be submitted before another dispatch can be timed. */
  get full(): boolean {
    return this.#names.length * 2 + 2 > SLOTS;
  }

  /** Where the next dispatch's times are to be written. */
  next(name: string): GPUComputePassTimestampWrites {
    const at = this.#names.push(name) * 2;
    const querySet = this.#queries;
    return { querySet, beginningOfPassWriteIndex: at - 2, endOfPassWriteIndex: at - 1 };
  }

  /** Adds the reading of the times to a command encoder about to be submitted; call what it returns after the submit. */
  resolve(encoder: GPUCommandEncoder): () => void {
    const names = this.#names;
    if (names.length === 0) return () => {};
    this.#names = [];
    const size = names.length * 16;
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const staging = this.#gpu.device.createBuffer({ size, usage, label: "timestamps" });
    encoder.resolveQuerySet(this.#queries, 0, names.length * 2, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, staging, 0, size);
    return () => {
      this.#pending.push(this.#collect(names, staging));
    };
  }

  /** The kernels by time, slowest first. */
  async table(): Promise<KernelTime[]> {
    this.#gpu.submit();
    await Promise.all(this.#pending.splice(0));
    return [...this.#times.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  }

  /** Frees its buffers. */
  [Symbol.dispose](): void {
    if (this.#gpu.profiler === this) this.#gpu.profiler = undefined;
    this.#queries.destroy();
    this.#resolved.destroy();
  }

  async #collect(names: string[], staging: GPUBuffer): Promise<void> {
    await staging.mapAsync(GPUMapMode.READ);
    const stamps = new BigUint64Array(staging.getMappedRange());
    names.forEach((name, i) => {
      const time = this.#times.get(name) ?? { name, calls: 0, milliseconds: 0 };
      time.calls++;
      time.milliseconds += Number(stamps[2 * i + 1]! - stamps[2 * i]!) / 1e6;
      this.#times.set(name, time);
    });
    staging.destroy();
  }
}

/** The kernels by time as text, one line each. */
export function formatProfile(times: readonly KernelTime[], most = 30): string {
  const total = times.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = times.slice(0, most).map(({ name, calls, milliseconds }) =>
    [
      milliseconds.toFixed(2).padStart(10),
      `${(100 * milliseconds / (total || 1)).toFixed(1)}%`.padStart(7),
      String(calls).padStart(7),
      `  ${name}`,
    ].join("")
  );
  return ["        ms  share  calls  kernel", ...rows, `${total.toFixed(2).padStart(10)} ms in all`]
    .join("\n");
}
