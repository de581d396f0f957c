import type { DeviceCounts, Gpu } from "../../kernels/runtime/gpu.ts";

/** What a call took. */
export interface Measured {
  /** Seconds until the device had done it; the median of some. */
  readonly seconds: number;
  /** Seconds in which it was recorded and handed to the device; the least of some, since others may use the processor as well. */
  readonly host: number;
  /** What it asked of the device. */
  readonly counts: DeviceCounts;
  /** Bytes on the device at most. */
  readonly peak: number;
}

/** Calls that are measured at least, and seconds: what records them becomes faster while the engine gets to know it. */
const TIMES = 3, SECONDS = 2;

/** Measures a call that records commands, after one that compiles. */
export async function measureCalls(gpu: Gpu, record: () => void): Promise<Measured> {
  const once = async () => {
    const start = performance.now();
    record();
    gpu.submit(); // does not wait: nothing else is under way
    const handed = performance.now();
    await gpu.wait();
    return { seconds: (performance.now() - start) / 1e3, host: (handed - start) / 1e3 };
  };
  await once();
  gpu.resetPeak();
  const before = gpu.counts;
  const all = [await once()];
  const counts = { ...gpu.counts };
  for (const name of Object.keys(counts) as (keyof DeviceCounts)[]) counts[name] -= before[name];
  const end = performance.now() + 1e3 * SECONDS;
  while (all.length < TIMES || performance.now() < end) all.push(await once());
  const seconds = all.map((one) => one.seconds).sort((a, b) => a - b)[all.length >> 1]!;
  return { seconds, host: Math.min(...all.map((one) => one.host)), counts, peak: gpu.memory.peak };
}
