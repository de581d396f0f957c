/** `deno task doctor`: what the machine has and how fast it is. */

import { measureDevice } from "../kernels/measure.ts";
import { listAdapters } from "../kernels/runtime/adapter.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import type { Communicator } from "../train/communicator.ts";
import { openCommunicator } from "../train/mpi.ts";
import { openMpiVersion } from "../train/open_mpi.ts";
import { onRanks } from "./on_ranks.ts";
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

/** Prints what is there and what it measures; of several ranks, the first prints it of all. */
export async function run(args: readonly string[]): Promise<number> {
  const { device } = parseOptions(options, args);
  const ranks = openCommunicator(300);
  await onRanks(ranks, () => examine(device, ranks));
  return 0;
}

async function examine(device: string, ranks: Communicator): Promise<void> {
  using gpu = await Gpu.open(device);
  if (ranks.rank === 0) await describe(gpu);
  const { gflops, gigabytes } = await measureDevice(gpu);
  const all = await ranks.gather({
    text: `${ranks.host}, process ${ranks.localRank} there, ${gpu.info.name}`,
    speed: `${gflops.toFixed(1)} GFLOP/s`,
  });
  if (ranks.rank > 0) return;
  line("float32 product", `${gflops.toFixed(1)} GFLOP/s`);
  line("copy", `${gigabytes.toFixed(1)} GB/s`);
  line("Open MPI", openMpiVersion() ?? "not found; ./setup.sh --with mpi brings it");
  if (ranks.size === 1) return;
  all.forEach(({ text, speed }, rank) =>
    line(`rank ${rank} of ${ranks.size}`, `${text}, ${speed}`)
  );
}

function line(name: string, value: unknown): void {
  console.log(`${name.padEnd(36)}${value}`);
}

async function describe(gpu: Gpu): Promise<void> {
  line("Deno, V8, TypeScript", Object.values(Deno.version).join(", "));
  line(
    "system",
    `${Deno.build.os} ${Deno.build.arch}, ${navigator.hardwareConcurrency} processors`,
  );
  const { total, available } = Deno.systemMemoryInfo();
  line("memory", `${formatBytes(available)} available of ${formatBytes(total)}`);
  for (const { info } of await listAdapters()) line("adapter", info.description || info.vendor);
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
}
