/** What `deno task tune` has found on this machine, in a file for each adapter in the user's cache. */

import { join } from "@std/path";
import config from "../deno.json" with { type: "json" };
import { parseTuning, type Tuning } from "../kernels/matmul/choose.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { writeFileAtomic } from "./files.ts";

/** What is kept. */
export interface TuningFile {
  /** The adapter's name. */
  readonly adapter: string;
  /** When it was written, ISO 8601. */
  readonly measured: string;
  /** What was found. */
  readonly tuning: Tuning;
}

/**
 * The file of a device's adapter, which may not be there; nothing where the user's cache is unknown. Its name changes
 * with all that WebGPU tells of adapter and driver, and with the versions of Deno and Glimpse.
 *
 * @param folder Where it lies; in the user's cache unless given.
 */
export async function tuningPath(
  { info, device }: Gpu,
  folder: string | undefined = cacheFolder(),
): Promise<string | undefined> {
  if (!folder) return undefined;
  const limits = Object.entries(limitsOf(device.limits));
  const key = [config.version, Deno.version.deno, info, [...device.features].sort(), limits];
  const bytes = new TextEncoder().encode(JSON.stringify(key));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  return join(folder, `tune-${digest.slice(0, 16)}.json`);
}

function limitsOf(limits: GPUSupportedLimits): Record<string, number> {
  const found: Record<string, number> = {};
  for (const name in limits) {
    const value = limits[name as keyof GPUSupportedLimits];
    if (typeof value === "number") found[name] = value;
  }
  return found;
}

/** Reads what was found on a device's adapter; nothing if there is no such file, or it is broken. */
export async function readTuning(gpu: Gpu, folder?: string): Promise<TuningFile | undefined> {
  const path = await tuningPath(gpu, folder);
  if (!path) return undefined;
  try {
    const file = JSON.parse(await Deno.readTextFile(path)) as Partial<TuningFile>;
    const tuning = parseTuning(file.tuning);
    if (!tuning) return undefined;
    return { adapter: `${file.adapter}`, measured: `${file.measured}`, tuning };
  } catch {
    return undefined;
  }
}

/**
 * Keeps what was found on a device's adapter.
 *
 * @returns Where.
 * @throws {GlimpseError} where the user has no cache, or it cannot be written to.
 */
export async function writeTuning(gpu: Gpu, tuning: Tuning, folder?: string): Promise<string> {
  const path = await tuningPath(gpu, folder);
  if (!path) {
    throw new GlimpseError("There is no folder to keep this in: set HOME or XDG_CACHE_HOME.");
  }
  const measured = new Date().toISOString();
  const file: TuningFile = { adapter: gpu.info.name, measured, tuning };
  await writeFileAtomic(path, `${JSON.stringify(file, undefined, 2)}\n`);
  return path;
}

/** Glimpse's folder in the user's cache, if programs may know of it. */
function cacheFolder(): string | undefined {
  const cache = variable("XDG_CACHE_HOME") || variable("LOCALAPPDATA");
  const home = variable("HOME");
  if (cache) return join(cache, "glimpse");
  return home ? join(home, ".cache", "glimpse") : undefined;
}

/** A variable of the environment; nothing where it may not be read, without asking whether it may. */
function variable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}
