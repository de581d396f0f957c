import { Gpu } from "../../kernels/runtime/gpu.ts";

let shared: Promise<Gpu> | undefined;

/** The device that all tests of a process share. */
export function testGpu(): Promise<Gpu> {
  return shared ??= Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
}

// a software driver that still computes while the process ends may corrupt the heap
Deno.test.afterAll(async () => {
  const gpu = await shared;
  await gpu?.device.queue.onSubmittedWorkDone();
  gpu?.[Symbol.dispose]();
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
