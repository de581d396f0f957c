import { product } from "./matmul.ts";
import type { Gpu } from "./runtime/gpu.ts";

/** What a device reaches on the two things that everything else is measured by. */
export interface DeviceSpeed {
  /** Arithmetic of a square float32 matrix product, in GFLOP/s. */
  gflops: number;
  /** Bytes read and written by a copy of a buffer, in GB/s. */
  gigabytes: number;
}

/**
 * Seconds that one call of `record` takes on the device: the best of a few rounds, each of as many calls as take at
 * least `budget` seconds.
 */
export async function secondsPerCall(gpu: Gpu, record: () => void, budget = 0.1): Promise<number> {
  const round = async (calls: number): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) record();
    await gpu.wait();
    return (performance.now() - start) / 1000 / calls;
  };
  await round(1); // compiles
  const calls = Math.max(1, Math.ceil(budget / await round(1)));
  let best = Infinity;
  for (let i = 0; i < 3; i++) best = Math.min(best, await round(calls));
  return best;
}

/** Measures a device, in about a second. */
export async function measureDevice(
  gpu: Gpu,
  size = gpu.info.software ? 768 : 4096,
): Promise<DeviceSpeed> {
  using _scope = gpu.scope();
  const matrix = () => gpu.zeros([size, size]);
  const a = matrix(), b = matrix(), c = matrix();
  const multiply = await secondsPerCall(
    gpu,
    () => product("NT", a, b, c, { m: size, n: size, k: size }),
  );
  const copy = await secondsPerCall(gpu, () => gpu.copy(a, b));
  return { gflops: 2 * size ** 3 / multiply / 1e9, gigabytes: 2 * a.bytes / copy / 1e9 };
}
