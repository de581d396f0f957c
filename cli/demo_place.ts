/** Where the demo runs, and whether it can: both are known before it makes anything. */

import { fromFileUrl, resolve } from "@std/path";
import { openGpu } from "../data/open_gpu.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { shellLine } from "../train/shell_words.ts";

/** Where the demo runs. */
export interface DemoPlace {
  /** Glimpse's own folder, in which its tasks are there. */
  readonly home: string;
  /** The demo's folder, as it is called from there. */
  readonly root: string;
  /** What is typed before a task: nothing, or how to get there. */
  readonly before: string;
}

/**
 * Finds the place, and makes sure that tasks and the device can be had.
 *
 * @param dir The demo's folder, as it is called from the working directory.
 * @throws {GlimpseError} that says what is missing.
 */
export async function demoPlace(dir: string, device: string): Promise<DemoPlace> {
  const url = new URL("..", import.meta.url);
  if (url.protocol !== "file:") {
    throw new GlimpseError(`The demo runs Glimpse's tasks, which ${url} has not; get its folder.`);
  }
  try {
    const quiet = { stdin: "null", stdout: "null", stderr: "null" } as const;
    await new Deno.Command("deno", { args: ["--version"], ...quiet }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new GlimpseError(
      "The demo runs `deno task …`, and the PATH leads to no deno; ./setup.sh demo sees to that.",
    );
  }
  (await openGpu(device))[Symbol.dispose]();
  const home = fromFileUrl(url);
  const isThere = Deno.realPathSync(home) === Deno.realPathSync(".");
  return {
    home,
    root: isThere ? dir : resolve(dir),
    before: isThere ? "" : `${shellLine(["cd", home])}\n`,
  };
}
