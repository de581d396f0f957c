/**
 * The first training step on an adapter that computes on the processor, when its driver's cache has none of the kernels:
 * compiled one by one at their first use, several at a time, and found in the cache.
 *
 *     deno task bench:cold [--rounds 2] [--stage sft]
 *
 * Prints Markdown; medians. The model has 26M parameters and CLIP ViT-B/16. The cache that is emptied is Mesa's.
 */
import { parseArgs } from "node:util";
import { Contestant } from "./support/contestant.ts";

const { values: given } = parseArgs({
  options: {
    rounds: { type: "string", default: "2" },
    stage: { type: "string", default: "pretrain" },
  },
});

interface Step {
  seconds: number;
  cpu_seconds: number;
}

const step = new URL("versus/step.ts", import.meta.url).pathname;

async function firstStep(compilers: number, cache: string): Promise<Step> {
  const args = ["run", "-A", step, "--stage", given.stage, "--compilers", String(compilers)];
  const one = new Contestant<Step>("a first step", Deno.execPath(), args, {
    MESA_SHADER_CACHE_DIR: cache,
  });
  const taken = await one.ask();
  await one.end();
  return taken;
}

function median(steps: readonly Step[], of: keyof Step): string {
  return steps.map((one) => one[of]).sort((a, b) => a - b)[steps.length >> 1]!.toFixed(1);
}

const compilers = Math.min(4, navigator.hardwareConcurrency);
const [alone, together, cached] = ["one by one", `${compilers} at a time`, "in the cache"] as const;
const taken: Record<string, Step[]> = { [alone]: [], [together]: [], [cached]: [] };
for (let round = 0; round < Number(given.rounds); round++) {
  const [first, second] = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  try {
    taken[alone]!.push(await firstStep(0, first));
    taken[together]!.push(await firstStep(compilers, second));
    taken[cached]!.push(await firstStep(compilers, second));
  } finally {
    for (const cache of [first, second]) await Deno.remove(cache, { recursive: true });
  }
}
console.log(`| ${given.stage}, first step | s | CPU s |\n| --- | --- | --- |`);
for (const [name, steps] of Object.entries(taken)) {
  console.log(`| ${name} | ${median(steps, "seconds")} | ${median(steps, "cpu_seconds")} |`);
}
