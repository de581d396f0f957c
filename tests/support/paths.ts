import { type AdapterInfo, chooseAdapter, openDevice } from "../../kernels/runtime/adapter.ts";
import { Gpu } from "../../kernels/runtime/gpu.ts";
import { gpuTest, untilTheEnd } from "./gpu.ts";

let card: Promise<Gpu> | undefined;
let subgroups: Promise<Gpu> | undefined;

/** A device of its own, taken for a graphics card without subgroups, or for one of which more is `known`. */
export async function openCard(known: Partial<AdapterInfo> = {}): Promise<Gpu> {
  const adapter = await chooseAdapter(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
  const [device, info] = await openDevice(adapter);
  return new Gpu(device, { ...info, software: false, subgroupSize: 0, ...known });
}

/** Registers a test that runs twice: with the kernels that the device gets, and with those of any graphics card. */
export function everyPathTest(name: string, body: (gpu: Gpu) => Promise<void>): void {
  gpuTest(name, body);
  gpuTest(
    `${name} (kernels of any graphics card)`,
    async () => await body(await (card ??= untilTheEnd(openCard()))),
  );
}

/** The same, and with the kernels of a graphics card whose subgroups add up, if this device's do. */
export function reductionTest(name: string, body: (gpu: Gpu) => Promise<void>): void {
  everyPathTest(name, body);
  gpuTest(`${name} (kernels of a graphics card with subgroups)`, async ({ info }) => {
    const { subgroupSize, declaresSubgroups } = info;
    subgroups ??= untilTheEnd(openCard({ subgroupSize, declaresSubgroups }));
    await body(await subgroups);
  });
}
