import { secondsPerCall } from "../../kernels/measure.ts";
import { Gpu } from "../../kernels/runtime/gpu.ts";

/** The device that the benchmarks of a process share; `GLIMPSE_DEVICE` chooses it. */
export const gpu: Gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");

let copySpeed: Promise<number> | undefined;

/** Bytes a second that a plain copy reads and writes. */
async function measureCopy(): Promise<number> {
  using _scope = gpu.scope();
  const n = gpu.info.software ? 2 ** 22 : 2 ** 25;
  const [from, to] = [gpu.zeros([n]), gpu.empty([n])];
  return 2 * from.bytes / await secondsPerCall(gpu, () => gpu.copy(from, to));
}

/**
 * Registers a benchmark of what is bound by memory. The line that it prints has the time of one call among many, the
 * bytes a second and their fraction of a plain copy's; the time in Deno's table is that of one call with the wait for it.
 *
 * @param name Operation and shape.
 * @param bytes What must at least be read and written.
 * @param prepare Makes the tensors, which belong to a scope, and returns the call.
 */
export function benchBytes(name: string, bytes: number, prepare: () => () => void): void {
  let printed = false; // deno calls a benchmark several times
  Deno.bench({
    name,
    n: 1,
    warmup: 0,
    fn: async (b) => {
      using _scope = gpu.scope();
      const call = prepare();
      const record = () => {
        using _inner = gpu.scope();
        call();
      };
      if (!printed) {
        printed = true;
        const seconds = await secondsPerCall(gpu, record);
        const speed = bytes / seconds;
        const share = 100 * speed / await (copySpeed ??= measureCopy());
        const [ms, rate] = [(seconds * 1e3).toFixed(3), (speed / 1e9).toFixed(1)];
        console.log(`${ms} ms, ${rate} GB/s, ${share.toFixed(0)}% of a copy`);
      }
      b.start();
      record();
      await gpu.wait();
      b.end();
    },
  });
}
