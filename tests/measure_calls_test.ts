import { assert, assertEquals } from "@std/assert";
import { measureCalls } from "../bench/support/measure_calls.ts";
import { fill } from "../kernels/elementwise.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { useClock } from "./support/clock.ts";

for (const [software, calls] of [[true, 1], [false, 10]] as const) {
  Deno.test(`${calls} of the calls measured are made in a row, each counted for itself, ${software ? "on the processor" : "on a card"}`, async () => {
    using gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
    Object.defineProperty(gpu, "info", { value: { ...gpu.info, software } });
    using x = gpu.zeros([64]);
    const wait = gpu.wait.bind(gpu);
    let clock = 0; // milliseconds
    using _ = useClock(() => clock);
    gpu.wait = async () => {
      await wait();
      clock += 100;
    };
    const { seconds, host, counts } = await measureCalls(gpu, () => {
      clock += 5;
      fill(x, 1);
    });
    assertEquals(counts.dispatches, 1);
    assertEquals(counts.submits, 1);
    assert(Math.abs(seconds - (0.005 + 0.1 / calls)) < 1e-9, `${seconds} s`);
    assert(Math.abs(host - 0.005) < 1e-9, `${host} s`);
  });
}
