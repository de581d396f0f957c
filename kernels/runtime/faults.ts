import { DeviceError, OutOfMemoryError } from "./errors.ts";
import { formatBytes, type MemoryPool } from "./memory.ts";

/** What a device reports by itself: commands that it refuses, memory that it lacks, its loss. */
export class Faults {
  readonly #name: string;
  readonly #memory: MemoryPool;
  readonly #told = Promise.withResolvers<void>();
  #first: DeviceError | undefined;
  #closed = false;

  /** Listens to a device of this name, whose memory comes from the pool. */
  constructor(device: GPUDevice, name: string, memory: MemoryPool) {
    this.#name = name;
    this.#memory = memory;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#first ??= this.#explain((event as GPUUncapturedErrorEvent).error);
      this.#told.resolve();
    });
    device.lost.then(({ message }) => {
      if (!this.#closed) {
        this.#first = new DeviceError(
          `The device "${name}" was lost, with all that was on it: its driver was reset, or it went away. (${message})`,
        );
      }
      this.#told.resolve();
    });
  }

  /** Whether the device has been closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** To be told that the device is about to be closed. */
  close(): void {
    this.#closed = true;
  }

  /** Throws what has been reported, if anything. */
  check(): void {
    if (this.#closed) throw new DeviceError("The device has been closed.");
    if (this.#first) throw this.#first;
  }

  /** Waits until something has been reported: drivers may tell of a loss later than calls fail of it, if within a second. */
  async told(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, 1000));
    await Promise.race([this.#told.promise, timeout]);
    clearTimeout(timer);
  }

  #explain(error: GPUError): DeviceError {
    if (error instanceof GPUOutOfMemoryError) {
      return new OutOfMemoryError(
        `The device "${this.#name}" is out of memory with ${
          formatBytes(this.#memory.use.live)
        } in use (${this.#memory.holders()}). Use a smaller batch or a shorter sequence. (${error.message})`,
      );
    }
    return new DeviceError(`The device "${this.#name}" refused a command: ${error.message}`);
  }
}
