/** A device as the commands use it. */

import { useTuning } from "../kernels/matmul/choose.ts";
import type { Compiling } from "../kernels/runtime/compile.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { readTuning } from "./tuning_file.ts";

/** Kernels compiled at a time at most; a few large ones take most of the time. */
const MOST_COMPILERS = 4;
/** Milliseconds of compiling before the first line about it, and between lines, where none can be rewritten. */
const PATIENCE = 2000, INTERVAL = 10_000;

/**
 * Opens a device that uses what has been measured on its adapter, if anything has, and tells when it compiles.
 *
 * @param device As for `Gpu.open`.
 * @param show Hears of the kernels that are compiled; the standard error output does unless given.
 * @param processes Processes of this machine that do the same at the same time.
 */
export async function openGpu(
  device?: string,
  show: (kernel?: Compiling) => void = onStandardError(),
  processes = 1,
): Promise<Gpu> {
  const compilers = Math.floor(navigator.hardwareConcurrency / processes);
  const gpu = await Gpu.open(device, Math.max(1, Math.min(compilers, MOST_COMPILERS)));
  gpu.onCompile = show;
  useTuning(gpu, (await readTuning(gpu))?.tuning);
  return gpu;
}

function onStandardError(): (kernel?: Compiling) => void {
  const encoder = new TextEncoder();
  const print = (text: string) => void Deno.stderr.writeSync(encoder.encode(text));
  return compileLine(Deno.stderr.isTerminal(), print);
}

/**
 * Tells which kernel is being compiled: on a terminal behind what stands there, until all are; anywhere else in lines,
 * the first after two seconds.
 *
 * @param terminal Whether text can be taken back.
 * @param print Writes text as it is.
 * @param now Milliseconds of a clock.
 */
export function compileLine(
  terminal: boolean,
  print: (text: string) => void,
  now: () => number = () => performance.now(),
): (kernel?: Compiling) => void {
  const [save, restore] = ["\x1b7", "\x1b8\x1b[J"];
  const cut = (text: string) => `\x1b[?7l${text}\x1b[?7h`; // a line that wraps could not be taken back
  let due = NaN, isShown = false;
  return (kernel) => {
    if (!kernel) {
      if (isShown) print(restore);
      [due, isShown] = [NaN, false];
      return;
    }
    const { name, number, of } = kernel;
    const text = `compiling kernel ${number}${of === undefined ? "" : ` of ${of}`}: ${name}`;
    if (terminal) {
      print((isShown ? restore : save) + cut(text));
      isShown = true;
    } else if (Number.isNaN(due)) {
      due = now() + PATIENCE;
    } else if (now() > due) {
      due = now() + INTERVAL;
      print(`${text}\n`);
    }
  };
}
