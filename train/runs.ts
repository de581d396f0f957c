/** The runs of a folder, from the files that they leave. */

import { join } from "@std/path";
import { openFile } from "../data/files.ts";

/** Where a run stands. */
export type RunStanding = "running" | "stopped" | "finished" | "broken off";

/** A run as its files tell. */
export interface RunSummary {
  /** Its name: `{weight}_{hidden}[_moe]`. */
  readonly name: string;
  /** The folder of its files. */
  readonly folder: string;
  /** Where it stands; `broken off` where nothing was written for long and it never said that it ended. */
  readonly state: RunStanding;
  /** Epoch of the last update, from 1. */
  readonly epoch?: number;
  /** Updates made. */
  readonly updates?: number;
  /** Loss of the last update, where it was finite. */
  readonly loss?: number;
  /** When its files changed last. */
  readonly changed: Date;
  /** The words to type to continue it; none where it has finished or has no checkpoint. */
  readonly continueWith?: readonly string[];
  /** What is wrong with its files. */
  readonly problems: readonly string[];
}

const METRICS = "_metrics.jsonl";
const RESUME = "_resume";
const TAIL_BYTES = 1 << 16;
const MOST_META_BYTES = 1 << 20;
/** A run that is alive writes something in this time, or in that of so many updates. */
const SILENCE_MS = 120_000, SILENT_UPDATES = 20;

/**
 * The runs whose files lie in a folder, in its `checkpoints`, or in those of its folders; the last
 * changed first. Files that cannot be read are told of in {@linkcode RunSummary.problems}.
 *
 * @param now The time by which a run counts as broken off.
 * @throws {Deno.errors.NotFound} where the folder does not exist.
 */
export async function listRuns(root: string, now: Date = new Date()): Promise<RunSummary[]> {
  const folders = [root, join(root, "checkpoints")];
  for await (const { name, isDirectory } of Deno.readDir(root)) {
    if (isDirectory && name !== "checkpoints") folders.push(join(root, name, "checkpoints"));
  }
  const runs = await Promise.all(folders.map((folder) => runsIn(folder, now)));
  return runs.flat().sort((a, b) => b.changed.getTime() - a.changed.getTime());
}

async function runsIn(folder: string, now: Date): Promise<RunSummary[]> {
  const names = new Set<string>();
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (!isDirectory && name.endsWith(METRICS)) names.add(name.slice(0, -METRICS.length));
      if (isDirectory && name.endsWith(RESUME)) names.add(name.slice(0, -RESUME.length));
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return [];
    }
    throw error;
  }
  names.delete("");
  const runs = await Promise.all([...names].map((name) => summary(folder, name, now)));
  return runs.filter((run) => run !== undefined);
}

async function summary(folder: string, name: string, now: Date): Promise<RunSummary | undefined> {
  const problems: string[] = [];
  const told = async <T>(path: string, read: (path: string) => Promise<T>) => {
    try {
      const { mtime } = await Deno.stat(path);
      return { value: await read(path), changed: mtime ?? new Date(0) };
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) problems.push((error as Error).message);
    }
  };
  const metrics = await told(join(folder, name + METRICS), lastRow);
  const meta = await told(join(folder, name + RESUME, "meta.json"), readMeta);
  if (!metrics && !meta && problems.length === 0) return undefined;
  const row = metrics?.value;
  const changed = new Date(Math.max(+(metrics?.changed ?? 0), +(meta?.changed ?? 0)));
  const silence = Math.max(SILENCE_MS, SILENT_UPDATES * 1000 * (row?.seconds ?? 0));
  const alive = now.getTime() - changed.getTime() < silence;
  // a run that went on or began anew after its last checkpoint is no longer what that says
  const wentOn = row?.step !== undefined && row.step !== meta?.value.updates &&
    +metrics!.changed > +(meta?.changed ?? 0);
  const said = wentOn ? undefined : meta?.value.state;
  const state = said === "stopped" || said === "finished" ? said : alive ? "running" : "broken off";
  const epoch = row?.epoch ?? (meta && meta.value.epoch + (said === "finished" ? 0 : 1));
  const updates = row?.step ?? meta?.value.updates;
  const loss = row ? row.loss : meta?.value.loss;
  return {
    name,
    folder,
    state,
    ...(epoch !== undefined && { epoch }),
    ...(updates !== undefined && { updates }),
    ...(loss !== undefined && { loss }),
    changed,
    ...(meta && state !== "finished" && { continueWith: continuation(meta.value) }),
    problems,
  };
}

interface Row {
  readonly step?: number;
  readonly epoch?: number;
  readonly loss?: number;
  readonly seconds?: number;
}

/** The last update's row of a metrics file; a line that a kill cut off does not count. */
async function lastRow(path: string): Promise<Row | undefined> {
  await using file = await openFile(path);
  const start = Math.max(0, file.size - TAIL_BYTES);
  const tail = new TextDecoder().decode(await file.read(start, file.size - start));
  const lines = tail.split("\n").slice(start > 0 ? 1 : 0, -1);
  const rows = lines.map((line) => parsed(line));
  const row = rows.findLast((row) => typeof row?.step === "number" && "loss" in row);
  if (row === undefined && lines.length === 0) return undefined;
  if (row === undefined) throw new Error(`${path} has no line with an update's numbers.`);
  const number = (name: string) => typeof row[name] === "number" ? { [name]: row[name] } : {};
  return { ...number("step"), ...number("epoch"), ...number("loss"), ...number("seconds") };
}

interface Meta {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly epoch: number;
  readonly updates: number;
  readonly loss?: number;
  readonly state: "running" | "stopped" | "finished";
}

async function readMeta(path: string): Promise<Meta> {
  await using file = await openFile(path);
  if (file.size > MOST_META_BYTES) throw new Error(`${path} is larger than a run's meta.json.`);
  const meta = parsed(new TextDecoder().decode(await file.read(0, file.size)));
  if (meta === undefined) throw new Error(`${path} is not a JSON object.`);
  const { command, arguments: args, epoch, updates, loss, state } = meta;
  const wrong = typeof command !== "string"
    ? "command"
    : !Array.isArray(args) || !args.every((arg) => typeof arg === "string")
    ? "arguments"
    : typeof epoch !== "number"
    ? "epoch"
    : typeof updates !== "number"
    ? "updates"
    : state !== "running" && state !== "stopped" && state !== "finished"
    ? "state"
    : undefined;
  if (wrong !== undefined) throw new Error(`${path} does not say the run's ${wrong}.`);
  return {
    command,
    arguments: args,
    epoch,
    updates,
    state,
    ...(typeof loss === "number" && { loss }),
  } as Meta;
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The command of a run with `--from_resume 1` in place of what it said of that, and without a
 * `--max_steps` that it has reached.
 */
function continuation({ command, arguments: args, updates }: Meta): string[] {
  const kept = without(
    without(args, "from_resume", () => true),
    "max_steps",
    (value) => Number(value) <= updates,
  );
  return ["deno", "task", command, ...kept, "--from_resume", "1"];
}

/** Arguments without an option, where its value is to go. */
function without(
  args: readonly string[],
  name: string,
  goes: (value: string) => boolean,
): string[] {
  const kept: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const [typed, value] = args[i]!.split(/=(.*)/s, 2);
    const isIt = typed!.replaceAll("-", "_") === `__${name}`;
    const words = isIt && value === undefined ? 2 : 1;
    if (!isIt || !goes(value ?? args[i + 1] ?? "")) kept.push(...args.slice(i, i + words));
    i += words - 1;
  }
  return kept;
}
