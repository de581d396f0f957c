import { measureDevice, secondsPerCall } from "../../kernels/measure.ts";
import { gpu } from "./bench_kernel.ts";

let productSpeed: Promise<number> | undefined;

/**
 * Registers a benchmark of what is bound by arithmetic. The line that it prints has the time of one call among many, the
 * operations a second and their fraction of a large matrix product's; Deno's table has one call with the wait for it.
 *
 * @param name Operation and shape.
 * @param flops Additions and multiplications of a call.
 * @param prepare Makes the tensors, which belong to a scope, and returns the call.
 */
export function benchFlops(name: string, flops: number, prepare: () => () => void): void {
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
        const speed = flops / seconds / 1e9;
        const best = await (productSpeed ??= measureDevice(gpu).then(({ gflops }) => gflops));
        const share = (100 * speed / best).toFixed(0);
        console.log(
          `${(seconds * 1e3).toFixed(3)} ms, ${speed.toFixed(1)} GFLOP/s, ${share}% of a product`,
        );
      }
      b.start();
      record();
      await gpu.wait();
      b.end();
    },
  });
}
