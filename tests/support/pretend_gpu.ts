/**
 * A preload for tests. It passes an adapter on the processor off as a graphics card, so that a card's kernels and precision
 * are chosen, and shuffles the invocations of each workgroup.
 *
 * The software driver computes eight invocations at a time up to a barrier, then the next eight. Where a barrier is missing,
 * what is read may happen to have been written before. In another order some of it has not, and a result is wrong: each
 * time, not by chance. `PRETEND_SEED` is 1 unless given; other seeds make other orders, and 0 leaves the driver's.
 *
 * Not found is what depends on the order among the eight, on subgroups, on the compiler of a card, or on which memory a
 * barrier orders. Workgroups go from the last to the first, on several threads: one that reads what another writes is found
 * by chance.
 */
import { seeded } from "./seeded.ts";

const seed = Number(Deno.env.get("PRETEND_SEED") ?? 1);
const MAIN = /@compute @workgroup_size\((\d+)\) fn main\(([^{]*)\) \{/;

/** A shader whose invocations and workgroups have other numbers: its entry point is called by another. */
function renumbered(code: string): string {
  const [main, size, parameters] = MAIN.exec(code) ?? [];
  if (!main || !parameters) {
    if (code.includes("Barrier(")) throw new Error(`No entry point is known in ${code}`);
    return code;
  }
  const own = `fn own(${parameters.replaceAll(/@builtin\(\w+\) /g, "")}) {`;
  const given = parameters.matchAll(/(\w+):/g).map(([, name]) => NUMBERS[name!] ?? name);
  return `${code.replace(main, own)}
const ORDER = array<u32, ${size}>(${shuffled(Number(size))});
@compute @workgroup_size(${size}) fn main(@builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  own(${[...given].join(", ")});
}`;
}

const NUMBERS: Readonly<Record<string, string>> = {
  lane: "ORDER[lane]",
  workgroup: "workgroups - 1u - workgroup",
};

function shuffled(size: number): string[] {
  const random = seeded(`${seed}/${size}`);
  const keys = Array.from({ length: size }, (_, i) => [random.float(), `${i}u`] as const);
  return keys.sort(([a], [b]) => a - b).map(([, lane]) => lane);
}

const { createShaderModule } = GPUDevice.prototype;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  const code = seed === 0 ? descriptor.code : renumbered(descriptor.code);
  return createShaderModule.call(this, { ...descriptor, code });
};

const CARD = {
  ...{ vendor: "", architecture: "", device: "", description: "Pretended graphics card" },
  ...{ subgroupMinSize: 4, subgroupMaxSize: 64, isFallbackAdapter: false },
};
Object.defineProperty(GPUAdapter.prototype, "info", { get: () => CARD });
