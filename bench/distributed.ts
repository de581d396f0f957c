/**
 * What several ranks cost and gain.
 *
 *     deno run -A bench/distributed.ts [--only sums,overlap,steps,model] [RANKS …]
 *
 * Measures, on 1, 2 and 4 ranks unless given, sums over ranks by size of the message (sums), backward passes with the
 * sums during and after them (overlap), and whole training steps (steps), and computes what more machines would do over
 * usual links (model). Prints Markdown.
 */
import { parseArgs } from "node:util";
import { fromFileUrl, join } from "@std/path";
import { run as sample } from "../cli/sample.ts";
import { sumInHalf } from "../train/half_sum.ts";
import type { Overlap } from "./gradient_sums_rank.ts";
import type { StepMetrics } from "../train/metrics.ts";
import { openCommunicator, startedByMpi } from "../train/mpi.ts";
import { median } from "./support/statistics.ts";

const SIZES = [2 ** 10, 2 ** 14, 2 ** 18, 2 ** 22, 2 ** 24]; // bytes of float32
const BATCH = 4;

interface Sum {
  /** Bytes of the message as float32. */
  bytes: number;
  /** Median seconds of a sum. */
  single: number;
  /** The same, sent in half precision. */
  half: number;
}

/** What a rank does: measures sums, and the first one prints them. */
async function measureSums(): Promise<void> {
  await using ranks = openCommunicator(60);
  const sums: Sum[] = [];
  for (const bytes of SIZES) {
    const values = new Float32Array(bytes / 4).fill(1);
    const time = async (sum: () => Promise<unknown>): Promise<number> => {
      const seconds: number[] = [];
      for (let i = 0; i < 12; i++) {
        const start = performance.now();
        await sum();
        seconds.push((performance.now() - start) / 1000);
      }
      return median(seconds.slice(2));
    };
    const single = await time(() => ranks.sum(values));
    sums.push({ bytes, single, half: await time(() => sumInHalf(ranks, values.fill(1))) });
  }
  if (ranks.rank === 0) console.log(JSON.stringify(sums));
}

async function mpirun(ranks: number, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("mpirun", {
    args: ["--oversubscribe", "-n", String(ranks), Deno.execPath(), "run", "-A", ...args],
    env: { OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1" },
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** Median seconds of an update on some ranks with the same batch on each. */
async function measureStep(root: string, ranks: number): Promise<number> {
  const cli = fromFileUrl(new URL("../cli.ts", import.meta.url));
  const name = `on_${ranks}`;
  const flags = ["--root", root, "--hidden_size", "64", "--freeze_llm", "0", "--save_weight", name];
  const size = ["--batch_size", String(BATCH), "--max_steps", "12", "--save_interval", "1000"];
  await mpirun(ranks, [cli, "pretrain", ...flags, ...size]);
  const lines = await Deno.readTextFile(join(root, "checkpoints", `${name}_64_metrics.jsonl`));
  const rows = lines.trim().split("\n").map((line): StepMetrics => JSON.parse(line));
  return median(rows.slice(4).map(({ seconds }) => seconds));
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const line = (cells: readonly string[]) => console.log(`| ${cells.join(" | ")} |`);
  line(head);
  line(head.map(() => "---"));
  rows.forEach(line);
  console.log();
}

/** Seconds of a ring's sum: each rank sends 2 (n − 1) / n of the bytes in 2 (n − 1) steps. */
function ringSeconds(
  ranks: number,
  bytes: number,
  bytesPerSecond: number,
  latency: number,
): number {
  return 2 * (ranks - 1) * (bytes / ranks / bytesPerSecond + latency);
}

/** Share of the gradients whose sums can go on during the backward pass of the 26M model: all but the embedding. */
const HIDEABLE = 1 - 6400 * 512 / 25.8e6;

/** Prints how an update of some seconds would scale: a third is the forward pass, two thirds the backward pass. */
function predict(what: string, compute: number, bytes: number, hideable: number): void {
  const counts = [2, 4, 8, 16, 64];
  console.log(
    `Efficiency of ${what}, ${
      (bytes / 1e6).toFixed(1)
    } MB an update, sums during / after the backward pass:\n`,
  );
  const links = [["1 Gbit/s", 125e6, 5e-5], ["10 Gbit/s", 1.25e9, 2e-5], [
    "100 Gbit/s",
    12.5e9,
    5e-6,
  ]] as const;
  const efficiency = (wait: number) => (100 * compute / (compute + wait)).toFixed(0);
  table(
    ["link", ...counts.map((n) => `${n} ranks`)],
    links.map(([name, speed, latency]) => [
      name,
      ...counts.map((n) => {
        const sum = ringSeconds(n, bytes, speed, latency);
        const during = sum - Math.min(hideable * sum, hideable * compute * 2 / 3);
        return `${efficiency(during)} / ${efficiency(sum)} %`;
      }),
    ]),
  );
}

/** Prints what sums during the backward pass save, on this machine and over links that are only waited for. */
async function showOverlap(ranks: number): Promise<void> {
  const rank = fromFileUrl(new URL("gradient_sums_rank.ts", import.meta.url));
  const links = [["this machine", Infinity], ["1 Gbit/s", 125e6], ["10 Gbit/s", 1.25e9]] as const;
  const rows: string[][] = [];
  for (const [name, speed] of links) {
    const measured: Overlap = JSON.parse(await mpirun(ranks, [rank, "64", "5", String(speed)]));
    const { backward, sums, after, during } = measured;
    const ms = [backward, sums, after, during].map((seconds) => (seconds * 1e3).toFixed(0));
    rows.push([name, ...ms, `${(100 * (1 - during / after)).toFixed(0)} %`]);
  }
  console.log(`The 26M model's gradients over ${ranks} ranks, milliseconds:\n`);
  table(["link", "backward", "sums", "backward, then sums", "sums during backward", "saved"], rows);
}

/** Prints what sums take by size. */
async function showSums(ranks: number): Promise<void> {
  const sums: Sum[] = JSON.parse(await mpirun(ranks, [fromFileUrl(import.meta.url)]));
  console.log(`Sums over ${ranks} ranks on this machine:\n`);
  const rate = (bytes: number, seconds: number) => (bytes / seconds / 1e6).toFixed(1);
  table(
    ["bytes", "float32 ms", "MB/s", "float16 ms", "MB/s"],
    sums.map(({ bytes, single, half }) => [
      String(bytes),
      (single * 1e3).toFixed(2),
      rate(bytes, single),
      (half * 1e3).toFixed(2),
      rate(bytes, half),
    ]),
  );
}

/** Prints what whole updates take on each number of ranks. */
async function showSteps(counts: readonly number[]): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await sample([root, "--rows", "128"]);
    const steps: [number, number][] = [];
    for (const ranks of counts) steps.push([ranks, await measureStep(root, ranks)]);
    const [[, alone] = [1, NaN]] = steps;
    console.log(`\nUpdates of ${BATCH} samples a rank, all on this machine:\n`);
    table(
      ["ranks", "seconds", "samples/s", "efficiency"],
      steps.map(([ranks, seconds]) => [
        String(ranks),
        seconds.toFixed(3),
        (BATCH * ranks / seconds).toFixed(1),
        `${(100 * alone / seconds).toFixed(0)} %`,
      ]),
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Prints how updates would scale. */
function showModel(): void {
  for (const compute of [0.1, 1]) {
    predict(`pretrain at ${compute} s an update (projector)`, compute, 4 * (768 * 512 + 512), 0);
    predict(`SFT at ${compute} s an update (26 M)`, compute, 4 * 25.8e6, HIDEABLE);
    predict(`SFT at ${compute} s an update (26 M, float16)`, compute, 2 * 25.8e6, HIDEABLE);
  }
}

async function main(): Promise<void> {
  const { values: { only }, positionals } = parseArgs({
    options: { only: { type: "string", default: "sums,overlap,steps,model" } },
    allowPositionals: true,
  });
  const counts = positionals.length > 0 ? positionals.map(Number) : [1, 2, 4];
  const several = counts.filter((n) => n > 1);
  const parts: Record<string, () => Promise<void> | void> = {
    sums: async () => {
      for (const ranks of several) await showSums(ranks);
    },
    overlap: async () => {
      if (several[0]) await showOverlap(several[0]);
    },
    steps: () => showSteps(counts),
    model: showModel,
  };
  for (const part of only.split(",")) {
    if (!parts[part]) throw new Error(`--only knows ${Object.keys(parts)}, not "${part}".`);
    await parts[part]();
  }
}

if (startedByMpi()) await measureSums();
else await main();
