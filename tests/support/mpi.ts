/** Runs tasks under mpirun and compares what they did. */
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import type { StepMetrics } from "../../train/metrics.ts";
import type { ValidationResult } from "../../train/validation.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** Whether a program can be run so. */
export async function runs(program: string, ...args: string[]): Promise<boolean> {
  return await new Deno.Command(program, { args, stdout: "null", stderr: "null" }).output()
    .then(({ success }) => success, () => false);
}

/** How a job ended, and all that it printed. */
export interface Ended {
  code: number;
  text: string;
}

/** Starts ranks of tasks: as root, and on fewer cores than ranks, where need be. */
export function start(...tasks: [ranks: number, task: readonly string[]][]): Deno.ChildProcess {
  const programs = tasks.flatMap(([ranks, task], i) => [
    ...(i > 0 ? [":"] : []),
    ...["-n", String(ranks), Deno.execPath(), "task", ...task],
  ]);
  return command("mpirun", ["--oversubscribe", ...programs]);
}

/** Starts a program that is or runs mpirun, also as root. */
export function command(program: string, args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(program, {
    args: [...args],
    cwd: ROOT,
    env: { OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1", NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Waits for the end of a job. */
export async function end(job: Deno.ChildProcess): Promise<Ended> {
  const { code, stdout, stderr } = await job.output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, text: `${out}${err}` };
}

/** Runs a task on some ranks and returns what they print. */
export async function mpirun(ranks: number, task: readonly string[]): Promise<string> {
  const { code, text } = await end(start([ranks, task]));
  assertEquals(code, 0, text);
  return text;
}

/** Runs a task by itself. */
export async function alone(task: readonly string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", ...task],
    cwd: ROOT,
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

/** A line of a metrics file. */
export type Row = StepMetrics & Partial<ValidationResult>;

/** The rows of a run's metrics: its updates, and what it was measured to be. */
export async function metricsOf(
  dir: string,
  name: string,
): Promise<{ updates: Row[]; measured: Row[] }> {
  const text = await Deno.readTextFile(join(dir, "checkpoints", `${name}_metrics.jsonl`));
  const rows = text.trim().split("\n").map((line): Row => JSON.parse(line));
  const { updates = [], measured = [] } = Object.groupBy(
    rows,
    ({ val_loss }) => val_loss === undefined ? "updates" : "measured",
  );
  return { updates, measured };
}

/** Asserts that a text has a part. */
export function assertIncludes(text: string, part: string): void {
  assert(text.includes(part), `"${part}" is not in: ${text}`);
}

/** Asserts that two numbers are 1e-4 apart at most. */
export function assertNear(x: number, y: number, what: string): void {
  assert(Math.abs(x - y) <= 1e-4 * Math.max(1, y), `${what} is ${x}, not ${y}`);
}

/** Asserts that two runs are one: what they count exactly, what they compute to 1e-4. */
export async function assertSameRun(dir: string, name: string, expected: string): Promise<void> {
  const [{ updates: a }, { updates: b }] = [
    await metricsOf(dir, name),
    await metricsOf(dir, expected),
  ];
  const counted = ({ step, epoch, tokens, samples, lr }: StepMetrics) => ({
    step,
    epoch,
    tokens,
    samples,
    lr: lr.toPrecision(10),
  });
  assertEquals(a.map(counted), b.map(counted), name);
  for (const key of ["loss", "aux_loss", "grad_norm"] as const) {
    a.forEach((row, i) => assertNear(row[key], b[i]![key], `${key} of ${name}, update ${i + 1},`));
  }
}

/** The flags that the runs of a test share. */
export const common = (dir: string, epochs: number) => [
  ...["--root", dir, "--hidden_size", "64", "--max_seq_len", "380", "--num_workers", "0"],
  ...["--from_weight", "llm", "--learning_rate", "1e-3", "--epochs", String(epochs)],
];
