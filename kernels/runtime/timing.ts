import { DeviceClock } from "./device_clock.ts";
import type { Gpu } from "./gpu.ts";

/** What calls took, that were recorded one after another. */
export interface Timing {
  /** How many there were. */
  readonly calls: number;
  /** Seconds of one: on the device, where its clock can be read, else with its part of the wait for the device. */
  readonly seconds: number;
  /** Seconds in which all were recorded and done. */
  readonly elapsed: number;
}

/** Times calls that record commands. */
export async function timeCalls(gpu: Gpu, record: () => void, calls: number): Promise<Timing> {
  const tick = await secondsPerTick(gpu);
  await gpu.wait();
  using clock = tick ? new DeviceClock(gpu) : undefined;
  gpu.clock = clock;
  const start = performance.now();
  for (let i = 0; i < calls; i++) record();
  const spans = clock ? await clock.spans() : await gpu.wait();
  const elapsed = (performance.now() - start) / 1e3;
  const ticks = spans?.reduce((sum, [begin, end]) => sum + Number(end - begin), 0);
  return { calls, seconds: (ticks === undefined ? elapsed : tick! * ticks) / calls, elapsed };
}

/** How many times as many calls to make next at most: the wait may be most of what the first took. */
const GROWTH = 8;

/** Times calls that have been compiled: more and more of them, until all take `budget` seconds or nearly. */
export async function timeMany(gpu: Gpu, record: () => void, budget: number): Promise<Timing> {
  let timing = await timeCalls(gpu, record, 1);
  while (timing.elapsed < budget / 2) {
    const { calls, elapsed } = timing;
    const more = Math.ceil(Math.min(GROWTH, budget / elapsed) * calls);
    timing = await timeCalls(gpu, record, more);
  }
  return timing;
}

const ticksOf = new WeakMap<Gpu, Promise<number | undefined>>();

/** Seconds of a tick of a device's clock, or nothing where it has none that goes. On the processor the host's is as good. */
function secondsPerTick(gpu: Gpu): Promise<number | undefined> {
  if (!gpu.info.timestamps || gpu.info.software) return Promise.resolve(undefined);
  if (!ticksOf.has(gpu)) ticksOf.set(gpu, measureTick(gpu));
  return ticksOf.get(gpu)!;
}

/** Milliseconds between two looks at both clocks. */
const APART = 50;

/** Compares a device's clock with the host's: WebGPU promises nanoseconds, but not all that implement it keep to them. */
async function measureTick(gpu: Gpu): Promise<number | undefined> {
  using tensor = gpu.detached(() => gpu.empty([1]));
  await gpu.wait();
  using clock = new DeviceClock(gpu);
  gpu.clock = clock;
  const look = () => {
    gpu.clear(tensor);
    gpu.submit();
    return performance.now();
  };
  look(); // the first takes longer
  const from = look();
  await new Promise((done) => setTimeout(done, APART));
  const to = look();
  const [, first, last] = await clock.spans();
  const tick = (to - from) / 1e3 / Number(last![0] - first![0]);
  if (!(tick > 0 && tick < Infinity)) return undefined;
  return Math.abs(1e9 * tick - 1) < 0.25 ? 1e-9 : tick;
}
