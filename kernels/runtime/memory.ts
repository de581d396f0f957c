import { OutOfMemoryError } from "./errors.ts";

/** A device buffer that one or more tensors share. It returns to its pool when the last of them lets go. */
export interface Storage {
  /** The device's buffer. */
  readonly buffer: GPUBuffer;
  /** Number that no other storage of this device ever has; names the buffer in caches. */
  readonly id: number;
  /** Size in bytes as allocated, at least what was asked for. */
  readonly bytes: number;
  /** What it holds, for error messages and reports. */
  label: string;
  /** How many live tensors use it. */
  refs: number;
  /** The submission before which it was last freed; commands not yet submitted may still use it until then. */
  freedBefore: number;
}

/** Byte counts of a device's memory. */
export interface MemoryUse {
  /** Bytes that live tensors hold. */
  live: number;
  /** Bytes kept for reuse. */
  pooled: number;
  /** The largest `live` so far, or since `resetPeak`. */
  peak: number;
}

/** Rounds a byte count up to a size class: at most an eighth larger, so that nearly equal sizes share buffers. */
export function sizeClass(bytes: number): number {
  if (bytes <= 256) return 256;
  const step = Math.max(256, 2 ** Math.floor(Math.log2(bytes)) / 8);
  return Math.ceil(bytes / step) * step;
}

/** Formats a byte count, for example `12.3 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) [bytes, unit] = [bytes / 1024, unit + 1];
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

/**
 * Hands out device buffers and takes them back by size class.
 *
 * A freed buffer may be handed out again at once: commands run in the order in which they were recorded. The one made
 * first is handed out first, so that steps that ask alike get the same buffers, and find what was bound to them before.
 */
export class MemoryPool {
  readonly #device: GPUDevice;
  readonly #free = new Map<number, Storage[]>();
  readonly #live = new Set<Storage>();
  readonly #use: MemoryUse = { live: 0, pooled: 0, peak: 0 };
  #ids = 0;
  #submissions = 0;

  /** A pool on one device. */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Bytes in use and kept. */
  get use(): Readonly<MemoryUse> {
    return { ...this.#use };
  }

  /** Starts measuring the peak anew. */
  resetPeak(): void {
    this.#use.peak = this.#use.live;
  }

  /** To be told that all recorded commands have been submitted. */
  submitted(): void {
    this.#submissions++;
  }

  /**
   * A storage of at least `bytes` bytes with undefined contents.
   *
   * @param idle Whether no recorded command may still use it, because the host is going to write to it at once.
   */
  allocate(bytes: number, label: string, idle = false): Storage {
    const size = sizeClass(bytes);
    const free = this.#free.get(size);
    const at = free?.findIndex((one) => !idle || one.freedBefore <= this.#submissions) ?? -1;
    let storage = at >= 0 ? free!.splice(at, 1)[0] : undefined;
    if (storage) this.#use.pooled -= size;
    else {
      if (size > this.#device.limits.maxBufferSize) throw this.#tooLarge(size, label);
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      const buffer = this.#device.createBuffer({ size, usage, label });
      storage = { buffer, id: ++this.#ids, bytes: size, label, refs: 0, freedBefore: 0 };
    }
    storage.label = label;
    this.#live.add(storage);
    this.#use.live += size;
    this.#use.peak = Math.max(this.#use.peak, this.#use.live);
    return storage;
  }

  /** Takes a storage back for reuse. */
  release(storage: Storage): void {
    this.#live.delete(storage);
    this.#use.live -= storage.bytes;
    this.#use.pooled += storage.bytes;
    storage.freedBefore = this.#submissions + 1;
    const same = this.#free.get(storage.bytes) ?? [];
    const after = same.findLastIndex(({ id }) => id < storage.id) + 1;
    same.splice(after, 0, storage);
    this.#free.set(storage.bytes, same);
  }

  /** Destroys the buffers kept for reuse. Call it only when no recorded command waits to be submitted. */
  trim(): void {
    for (const list of this.#free.values()) for (const storage of list) storage.buffer.destroy();
    this.#free.clear();
    this.#use.pooled = 0;
  }

  /** Destroys everything, in use or not. */
  destroy(): void {
    this.trim();
    for (const storage of this.#live) storage.buffer.destroy();
    this.#live.clear();
    this.#use.live = 0;
  }

  /** The largest holders of memory by label, as text. */
  holders(most = 5): string {
    const byLabel = new Map<string, number>();
    for (const { label, bytes } of this.#live) {
      byLabel.set(label, (byLabel.get(label) ?? 0) + bytes);
    }
    const largest = [...byLabel].sort((a, b) => b[1] - a[1]).slice(0, most);
    return largest.map(([label, bytes]) => `${label} ${formatBytes(bytes)}`).join(", ") ||
      "nothing";
  }

  #tooLarge(size: number, label: string): OutOfMemoryError {
    const most = formatBytes(this.#device.limits.maxBufferSize);
    return new OutOfMemoryError(
      `"${label}" needs a buffer of ${
        formatBytes(size)
      }, but this adapter makes none larger than ${most}. ` +
        `Use a smaller batch or a shorter sequence.`,
    );
  }
}
