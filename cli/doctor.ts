/** `deno task doctor`: what the machine has and how fast it is. */

import { measureDevice } from "../kernels/measure.ts";
import { listAdapters } from "../kernels/runtime/adapter.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { text } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";

/** The options of `doctor`. */
export const options = {
  device: text({
    help: "Adapter: gpu, software, or a piece of its name.",
    default: "gpu",
    placeholder: "NAME",
  }),
};

const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupsPerDimension",
  "maxTextureDimension2D",
] as const;

/** Prints what is there and what it measures. */
export async function run(args: readonly string[]): Promise<number> {
  const { device } = parseOptions(options, args);
  const line = (name: string, value: unknown) => console.log(`${name.padEnd(36)}${value}`);
  line("Deno, V8, TypeScript", Object.values(Deno.version).join(", "));
  line(
    "system",
    `${Deno.build.os} ${Deno.build.arch}, ${navigator.hardwareConcurrency} processors`,
  );
  const { total, available } = Deno.systemMemoryInfo();
  line("memory", `${formatBytes(available)} available of ${formatBytes(total)}`);
  for (const { info } of await listAdapters()) line("adapter", info.description || info.vendor);
  using gpu = await Gpu.open(device);
  const { info } = gpu;
  line("chosen", `${info.name}${info.software ? " (software: it computes on the processor)" : ""}`);
  line("half precision", info.float16 ? "yes" : "no");
  line("subgroups", info.subgroupSize > 0 ? `of ${info.subgroupSize}` : "not of a fixed size");
  line("kernel timing", info.timestamps ? "yes" : "no");
  line("features", [...gpu.device.features].sort().join(", "));
  for (const name of LIMITS) {
    const limit = gpu.device.limits[name];
    line(name, /Size$/.test(name) ? formatBytes(limit) : limit);
  }
  const { gflops, gigabytes } = await measureDevice(gpu);
  line("float32 product", `${gflops.toFixed(1)} GFLOP/s`);
  line("copy", `${gigabytes.toFixed(1)} GB/s`);
  return 0;
}
