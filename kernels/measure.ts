import { product } from "./matmul.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { timeCalls, timeMany } from "./runtime/timing.ts";

/** What a device reaches on the two things that everything else is measured by. */
export interface DeviceSpeed {
  /** Arithmetic of a square float32 matrix product, in GFLOP/s. */
  gflops: number;
  /** Bytes read and written by a copy of a tensor, in GB/s. */
  gigabytes: number;
}

/**
 * Seconds that one call of `record` takes on the device: the best of a few rounds, each of as many calls as take about
 * `budget` seconds.
 */
export async function secondsPerCall(gpu: Gpu, record: () => void, budget = 0.1): Promise<number> {
  await timeCalls(gpu, record, 1); // compiles
  const { calls, seconds } = await timeMany(gpu, record, budget);
  let best = seconds;
  for (let i = 0; i < 2; i++) best = Math.min(best, (await timeCalls(gpu, record, calls)).seconds);
  return best;
}

/** Bytes of a buffer that no card's cache holds. */
const UNCACHED = 2 ** 28;

/**
 * Measures a device, in about a second.
 *
 * @param size Rows and columns of the matrices.
 */
export async function measureDevice(
  gpu: Gpu,
  size = gpu.info.software ? 768 : 4096,
): Promise<DeviceSpeed> {
  const speed = { gflops: await productSpeed(gpu, size), gigabytes: await copySpeed(gpu, size) };
  gpu.trim();
  return speed;
}

async function productSpeed(gpu: Gpu, size: number): Promise<number> {
  using _scope = gpu.scope();
  const matrix = () => gpu.zeros([size, size]);
  const a = matrix(), b = matrix(), c = matrix();
  const extents = { m: size, n: size, k: size };
  return 2 * size ** 3 / await secondsPerCall(gpu, () => product("NT", a, b, c, extents)) / 1e9;
}

async function copySpeed(gpu: Gpu, size: number): Promise<number> {
  using _scope = gpu.scope();
  const { maxStorageBufferBindingSize, maxBufferSize } = gpu.device.limits;
  const large = Math.min(UNCACHED, maxStorageBufferBindingSize, maxBufferSize);
  const floats = gpu.info.software ? size ** 2 : Math.floor(large / 16) * 4;
  const a = gpu.zeros([floats]), b = gpu.zeros([floats]);
  return 2 * a.bytes / await secondsPerCall(gpu, () => gpu.copy(a, b)) / 1e9;
}
