/**
 * Lets a trained model describe every picture of a folder, or measures it on a data set:
 * `deno task eval`, or `deno run --allow-read --allow-write --allow-ffi --allow-env eval.ts`.
 *
 * @module
 */

import { runCommand } from "./cli/program.ts";

const EVAL = {
  summary: "Lets a trained model describe the pictures of a folder, or measures it on a data set.",
  load: () => import("./cli/eval.ts"),
};

if (import.meta.main) Deno.exit(await runCommand("deno task eval", EVAL, Deno.args));
