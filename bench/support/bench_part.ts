import { type DeviceSpeed, measureDevice, secondsPerCall } from "../../kernels/measure.ts";
import { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Scope } from "../../kernels/runtime/scope.ts";

/** The device that the benchmarks of a process share; `GLIMPSE_DEVICE` chooses it. */
export const gpu: Gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");

let speed: Promise<DeviceSpeed> | undefined;

/** What bounds the benchmarks on this device: a large product's arithmetic, a plain copy's bytes. */
export function deviceSpeed(): Promise<DeviceSpeed> {
  return speed ??= measureDevice(gpu);
}

/**
 * Registers a benchmark of what is bound by memory; see `benchFlops`.
 *
 * @param bytes What must at least be read and written.
 */
export function benchBytes(name: string, bytes: number, prepare: () => () => void): void {
  benchPart(name, prepare, (seconds, { gigabytes }) => {
    const rate = bytes / seconds / 1e9;
    return `${rate.toFixed(1)} GB/s, ${(100 * rate / gigabytes).toFixed(0)}% of a copy`;
  });
}

/**
 * Registers a benchmark of what is bound by arithmetic. The line that it prints has the time of one call among many, the
 * operations a second and their fraction of a large matrix product's; Deno's table has one call with the wait for it.
 *
 * @param name Operation and shape.
 * @param flops Additions and multiplications of a call.
 * @param prepare Makes the tensors, which belong to a scope, and returns the call.
 */
export function benchFlops(name: string, flops: number, prepare: () => () => void): void {
  benchPart(name, prepare, (seconds, { gflops }) => {
    const rate = flops / seconds / 1e9;
    return `${rate.toFixed(1)} GFLOP/s, ${(100 * rate / gflops).toFixed(0)}% of a product`;
  });
}

/** A benchmark's call, and the scope of what it has made. */
interface Prepared {
  readonly prepare: () => () => void;
  readonly scope: Scope;
  readonly record: () => void;
}

/** The benchmark under way: Deno calls each several times, and what it needs takes long to make. */
let current: Prepared | undefined;

function start(prepare: () => () => void): Prepared {
  current?.scope[Symbol.dispose]();
  const scope = gpu.scope();
  const call = prepare();
  const record = () => {
    using _inner = gpu.scope();
    call();
  };
  return { prepare, scope, record };
}

function benchPart(
  name: string,
  prepare: () => () => void,
  describe: (seconds: number, speed: DeviceSpeed) => string,
): void {
  Deno.bench({
    name,
    n: 1,
    warmup: 0,
    fn: async (b) => {
      if (current?.prepare !== prepare) {
        current = start(prepare);
        const seconds = await secondsPerCall(gpu, current.record);
        console.log(
          `${(seconds * 1e3).toFixed(4)} ms, ${describe(seconds, await deviceSpeed())}`,
        );
      }
      b.start();
      current.record();
      await gpu.wait();
      b.end();
    },
  });
}
