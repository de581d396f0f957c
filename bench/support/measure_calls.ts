import type { DeviceCounts, Gpu } from "../../kernels/runtime/gpu.ts";
import { median } from "./statistics.ts";

/** What a call took. */
export interface Measured {
  /** Seconds until the device had done it, of several in a row its part; the median of some. */
  readonly seconds: number;
  /** Seconds in which it was recorded and handed to the device; the least of some, since others may use the processor as well. */
  readonly host: number;
  /** What it asked of the device. */
  readonly counts: DeviceCounts;
  /** Bytes on the device at most. */
  readonly peak: number;
}

/** Rounds that are measured at least, and seconds: what records calls becomes faster while the engine gets to know it. */
const TIMES = 3, SECONDS = 2;

/**
 * Measures a call that records commands, after one that compiles. On a graphics card a round is of several calls that are
 * not waited for in between, as in training.
 */
export async function measureCalls(gpu: Gpu, record: () => void): Promise<Measured> {
  const round = async (calls: number) => {
    const start = performance.now();
    const host: number[] = [];
    for (let i = 0; i < calls; i++) {
      const begun = performance.now();
      record();
      gpu.submit();
      host.push((performance.now() - begun) / 1e3);
    }
    await gpu.wait();
    return { seconds: (performance.now() - start) / 1e3 / calls, host: Math.min(...host) };
  };
  await round(1);
  gpu.resetPeak();
  const before = gpu.counts;
  record();
  gpu.submit();
  const counts = { ...gpu.counts };
  await gpu.wait();
  for (const name of Object.keys(counts) as (keyof DeviceCounts)[]) counts[name] -= before[name];
  const calls = gpu.info.software ? 1 : 10;
  const all = [];
  const end = performance.now() + 1e3 * SECONDS;
  while (all.length < TIMES || performance.now() < end) all.push(await round(calls));
  const seconds = median(all.map((one) => one.seconds));
  return { seconds, host: Math.min(...all.map((one) => one.host)), counts, peak: gpu.memory.peak };
}
