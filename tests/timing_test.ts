import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { fill } from "../kernels/elementwise.ts";
import { measureDevice, secondsPerCall } from "../kernels/measure.ts";
import { DeviceClock } from "../kernels/runtime/device_clock.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { timeCalls, timeMany } from "../kernels/runtime/timing.ts";
import { useClock } from "./support/clock.ts";
import { leakFreeTest } from "./support/gpu.ts";

/** A device of a test's own, of which other things are said. */
async function ownGpu(said: Partial<Gpu["info"]>): Promise<Gpu> {
  const gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
  Object.defineProperty(gpu, "info", { value: { ...gpu.info, ...said } });
  return gpu;
}

leakFreeTest("a device's clock has a span of each submission, one after another", async (gpu) => {
  if (!gpu.info.timestamps) return;
  using x = gpu.zeros([4096]);
  gpu.submit();
  using clock = new DeviceClock(gpu);
  gpu.clock = clock;
  for (let i = 0; i < 300; i++) {
    if (i % 2) fill(x, i);
    else gpu.clear(x);
    gpu.submit();
    gpu.submit(); // nothing
  }
  fill(x, 300);
  const spans = await clock.spans();
  assertEquals(gpu.clock, undefined);
  assertEquals(spans.length, 301);
  spans.forEach(([begin, end], i) => {
    assert(begin > 0n && begin <= end, `${i}: ${begin} to ${end}`);
    if (i > 0) assert(begin >= spans[i - 1]![1], `${i} begins before the one before has ended`);
  });
  assertEquals((await gpu.read(x))[0], 300);
});

for (const timestamps of [true, false]) {
  Deno.test(`calls are made, counted and timed, ${timestamps ? "by the device" : "by the host"}`, async () => {
    using gpu = await ownGpu({ software: false });
    if (timestamps && !gpu.info.timestamps) return;
    Object.assign(gpu.info, { timestamps });
    using x = gpu.zeros([4096]);
    let made = 0;
    const record = () => fill(x, ++made);
    const { calls, seconds, elapsed } = await timeCalls(gpu, record, 5000); // in several submissions
    assertEquals([calls, made, (await gpu.read(x))[0]], [5000, 5000, 5000]);
    assert(seconds > 0 && seconds * calls <= 1.25 * elapsed, `${seconds} s of ${elapsed} s`);
    const many = await timeMany(gpu, record, 0.05);
    assert(many.elapsed >= 0.025 && many.calls > 1, `${many.calls} calls in ${many.elapsed} s`);
    assert(await secondsPerCall(gpu, record, 0.001) > 0);
    const broken = () => {
      throw new Error("cannot be recorded");
    };
    await assertRejects(() => timeCalls(gpu, broken, 1), Error, "cannot be recorded");
    assertEquals(gpu.clock, undefined);
  });
}

Deno.test("a clock whose ticks are no nanoseconds is told by the host's", async () => {
  using gpu = await ownGpu({ software: false });
  if (!gpu.info.timestamps) return;
  const { now } = performance;
  using x = gpu.zeros([1 << 20]);
  const record = () => fill(x, 1);
  let slow: number;
  {
    using _ = useClock(() => 40 * now.call(performance)); // as if each tick were 40 ns
    slow = (await timeMany(gpu, record, 1)).seconds;
  }
  using same = await ownGpu({ software: false });
  using y = same.zeros([1 << 20]);
  const { seconds } = await timeMany(same, () => fill(y, 1), 0.1);
  assertAlmostEquals(Math.log(slow / seconds), Math.log(40), 2);
});

Deno.test("as many calls are made as take the budget, whatever the first takes with its wait", async () => {
  using gpu = await ownGpu({ timestamps: false });
  const wait = gpu.wait.bind(gpu);
  let clock = 0; // milliseconds
  using _ = useClock(() => clock);
  gpu.wait = async () => {
    await wait();
    clock += 10;
  };
  let made = 0;
  const record = () => {
    made++;
    clock += 0.02;
  };
  const { calls, elapsed } = await timeMany(gpu, record, 0.1);
  assertEquals(elapsed >= 0.05 && elapsed < 0.2, true, `${calls} calls take ${elapsed} s`);
  assert(calls >= 2000, `${calls} calls`);
  assert(await secondsPerCall(gpu, record) < 3e-5);
  assert(made > 3 * calls);
});

leakFreeTest("a device is measured, and keeps nothing", async (gpu) => {
  const { gflops, gigabytes } = await measureDevice(gpu, 64);
  assert(gflops > 0 && gflops < Infinity && gigabytes > 0 && gigabytes < Infinity);
  assertEquals(gpu.memory.pooled, 0);
});
