import { assertEquals } from "@std/assert";
import { Gpu } from "../../kernels/runtime/gpu.ts";

const opened: Promise<Gpu>[] = [];
let shared: Promise<Gpu> | undefined;

/** The device that all tests of a process share. */
export function testGpu(): Promise<Gpu> {
  return shared ??= untilTheEnd(Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu"));
}

/** Keeps a device until all tests have ended. */
export function untilTheEnd(gpu: Promise<Gpu>): Promise<Gpu> {
  opened.push(gpu);
  return gpu;
}

// a software driver that still computes while the process ends may corrupt the heap
Deno.test.afterAll(async () => {
  for (const gpu of await Promise.all(opened)) {
    await gpu.device.queue.onSubmittedWorkDone();
    gpu[Symbol.dispose]();
  }
});

/** Registers a test that gets the shared device. */
export function gpuTest(name: string, body: (gpu: Gpu) => Promise<void>): void {
  Deno.test({
    name,
    sanitizeResources: false,
    sanitizeOps: false,
    fn: async () => await body(await testGpu()),
  });
}

/** The same for a test after which as many bytes of the device are in use as before. */
export function leakFreeTest(name: string, body: (gpu: Gpu) => Promise<void>): void {
  gpuTest(name, async (gpu) => {
    const before = gpu.memory.live;
    await body(gpu);
    assertEquals(gpu.memory.live, before, "bytes left in use");
  });
}
