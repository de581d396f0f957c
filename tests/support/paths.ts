import { chooseAdapter, openDevice } from "../../kernels/runtime/adapter.ts";
import { Gpu } from "../../kernels/runtime/gpu.ts";
import { gpuTest, untilTheEnd } from "./gpu.ts";

let plain: Promise<Gpu> | undefined;

/** The device, taken for a graphics card without subgroups. */
async function openPlain(): Promise<Gpu> {
  const adapter = await chooseAdapter(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
  const [device, info] = await openDevice(adapter);
  return new Gpu(device, { ...info, software: false, subgroupSize: 0 });
}

/** Registers a test that runs twice: with the kernels that the device gets, and with those of any graphics card. */
export function everyPathTest(name: string, body: (gpu: Gpu) => Promise<void>): void {
  gpuTest(name, body);
  gpuTest(
    `${name} (kernels of any graphics card)`,
    async () => await body(await (plain ??= untilTheEnd(openPlain()))),
  );
}
