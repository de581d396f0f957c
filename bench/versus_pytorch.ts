/**
 * Glimpse against the original's training step in PyTorch, in turns on one machine.
 *
 *     deno task bench:pytorch --python PATH [--best] [--compile] [--only pretrain,sft,decode] [--rounds 3]
 *         [--hidden_size 768 --num_hidden_layers 16] [--use_moe] [--batch_size 4] [--torch_device cuda]
 *         [--steps 10] [--precision float16]
 *     deno task bench:pytorch --python PATH --check
 *
 * Prints Markdown. Every contestant is a process of its own; a round lets each take --steps steps, after which it waits
 * for the last loss: 1 on the processor, so that a machine that others use as well slows all alike, else 10. The first
 * round, in which kernels are compiled, does not count. PyTorch computes in bfloat16 on a card as the original does,
 * Glimpse in --precision, without it as in training: float16 on a card. --check shows
 * instead that the opponent is the original: on a small folder it trains as the original did, pretrain and SFT, dense and
 * with experts, and every loss is compared with what the original printed.
 */
import { parseArgs } from "node:util";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { makeOriginalFolder } from "../tests/support/original_folder.ts";
import { Contestant } from "./support/contestant.ts";
import { median } from "./support/statistics.ts";

interface Step {
  seconds: number;
  cpu_seconds: number;
  samples: number;
  tokens: number;
  memory: number;
  hostSeconds?: number;
}

const { values: given } = parseArgs({
  options: {
    python: { type: "string", default: "python3" },
    torch_device: { type: "string", default: "cpu" },
    device: { type: "string", default: "gpu" },
    best: { type: "boolean", default: false },
    compile: { type: "boolean", default: false },
    only: { type: "string", default: "pretrain,sft,decode" },
    rounds: { type: "string", default: "3" },
    steps: { type: "string" },
    precision: { type: "string" },
    hidden_size: { type: "string", default: "512" },
    num_hidden_layers: { type: "string", default: "8" },
    batch_size: { type: "string", default: "4" },
    use_moe: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
  },
});

/** What is run: tokens of the samples, how many are answer, and the length to which the original pads. */
const WORKLOADS: Record<string, { lengths: number[]; answer: number; padded: number }> = {
  pretrain: { lengths: [246], answer: 24, padded: 640 },
  sft: { lengths: [420, 340, 512, 380], answer: 180, padded: 1536 },
  decode: { lengths: [246], answer: 32, padded: 640 },
};

/** A process that takes a step when asked, and the steps that it has taken. */
class StepContestant extends Contestant<Step> {
  readonly steps: Step[] = [];
}

/** The path of a file beside this one. */
const file = (path: string) => new URL(path, import.meta.url).pathname;

/** Ends the process unless the opponent has the original's losses. */
async function check(): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await makeOriginalFolder(folder);
    const expected = file("../tests/fixtures/original/expected.json");
    const args = [file("pytorch/step.py"), "--check", folder, expected];
    const { code } = await new Deno.Command(given.python, { args }).spawn().status;
    if (code !== 0) Deno.exit(code);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Steps of a round unless they are given. */
async function usualSteps(): Promise<string> {
  using gpu = await Gpu.open(given.device);
  return gpu.info.software ? "1" : "10";
}

function contestants(stage: string, steps: string): StepContestant[] {
  const { lengths, answer, padded } = WORKLOADS[stage]!;
  const { hidden_size, num_hidden_layers, batch_size } = given;
  const moe = given.use_moe ? ["--use_moe"] : [];
  const shape = ["--hidden_size", hidden_size, "--num_hidden_layers", num_hidden_layers];
  const same = ["--stage", stage, ...shape, "--batch_size", batch_size, "--steps", steps, ...moe];
  const precision = given.precision ? ["--precision", given.precision] : [];
  const torch = (name: string, ...flags: string[]) =>
    new StepContestant(name, given.python, [
      ...[file("pytorch/step.py"), "--wait", ...same, "--device", given.torch_device],
      ...["--answer", `${answer}`, "--max_seq_len", `${padded}`],
      ...["--lengths", ...lengths.map(String), ...flags],
    ]);
  const glimpse = (name: string, ...flags: string[]) =>
    new StepContestant(name, Deno.execPath(), [
      ...["run", "-A", file("versus/step.ts"), ...same, "--device", given.device, ...precision],
      ...["--answer", `${answer}`, "--lengths", lengths.join(), ...flags],
    ]);
  return [
    torch("PyTorch"),
    ...given.best && stage !== "decode" ? [torch("PyTorch, trimmed", "--best")] : [],
    ...given.compile ? [torch("PyTorch, trimmed and compiled", "--best", "--compile")] : [],
    glimpse("Glimpse"),
    ...stage === "pretrain" ? [glimpse("Glimpse, from the second epoch", "--cached")] : [],
  ];
}

/** Seconds in as many digits as say something. */
function shortened(seconds: number): string {
  return seconds.toFixed(seconds < 1 ? 4 : 2);
}

function table(all: readonly StepContestant[]): string {
  const seconds = ({ steps }: StepContestant) => median(steps.map(({ seconds }) => seconds));
  const processor = ({ steps }: StepContestant) => median(steps.map((step) => step.cpu_seconds));
  const rows = all.map((one) => {
    const { samples, tokens } = one.steps[0]!;
    const host = one.steps.map((step) => step.hostSeconds).filter((x) => x !== undefined);
    return [
      one.name,
      shortened(seconds(one)),
      (samples / seconds(one)).toFixed(2),
      (tokens / seconds(one)).toFixed(0),
      `${(seconds(all[0]!) / seconds(one)).toFixed(2)}×`,
      shortened(processor(one)),
      `${(processor(all[0]!) / processor(one)).toFixed(2)}×`,
      formatBytes(Math.max(...one.steps.map(({ memory }) => memory))),
      host.length > 0 ? `${(1e3 * Math.min(...host)).toFixed(1)} ms` : "",
    ];
  });
  const head = [
    "",
    "s/step",
    "samples/s",
    "tokens/s",
    "speed",
    "CPU s",
    "per CPU s",
    "peak memory",
  ];
  const lines = [[...head, "host"], Array(9).fill("---"), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

const steps = given.check ? "1" : given.steps ?? await usualSteps();
const model = given.use_moe ? "MoE, " : "";
if (given.check) await check();
for (const stage of given.check ? [] : given.only.split(",")) {
  const all = contestants(stage, steps);
  for (const one of all) await one.ask(); // compiles
  for (let round = 0; round < Number(given.rounds); round++) {
    for (const one of all) one.steps.push(await one.ask());
  }
  for (const one of all) await one.end();
  const batch = stage === "decode" ? 1 : given.batch_size;
  const row = stage === "decode" ? "" : `, ${steps} in a row`;
  console.log(
    `\n${stage}, ${model}hidden ${given.hidden_size}, batch ${batch}${row}\n\n${table(all)}`,
  );
}
