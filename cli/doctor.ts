/** `deno task doctor`: what the machine has and how fast it is. */

import { readTuning, type TuningFile } from "../data/tuning_file.ts";
import type { ProductShape } from "../kernels/matmul/choose.ts";
import { checkRules } from "../kernels/matmul/tune.ts";
import { measureDevice } from "../kernels/measure.ts";
import { listAdapters } from "../kernels/runtime/adapter.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { Random } from "../model/random.ts";
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

/** Products for which the rules choose all of their kernels. */
const PRODUCTS: readonly ProductShape[] = [
  { layout: "NT", m: 1, n: 512, k: 512, precision: "float32" },
  ...[16, 32, 512, 4096].map((m): ProductShape => (
    { layout: "NT", m, n: m, k: Math.min(m, 512), precision: "float32" }
  )),
];

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
  await describeKernels(gpu);
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

/** Whether the kernels for products compute rightly, and by what they are chosen. */
async function describeKernels(gpu: Gpu): Promise<void> {
  const random = new Random(0);
  const wrong = await checkRules(gpu, PRODUCTS, () => random.float());
  line("products against float64", wrong.length === 0 ? "right" : "WRONG");
  for (const { name, reason } of wrong) line(`  ${name}`, `${reason}; deno task tune bars it`);
  const tuned = await readTuning(gpu);
  line("products' kernels", tuned ? inWords(tuned) : "by rule; deno task tune measures them");
}

function inWords({ measured, tuning: { choices, wrong } }: TuningFile): string {
  return `as measured on ${measured} for ${Object.keys(choices).length} classes` +
    (wrong.length > 0 ? `; never ${wrong.join(", ")}, wrong here` : "");
}
