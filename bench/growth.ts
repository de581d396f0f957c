/**
 * How a training step's time and memory grow with batch, length, width and layers.
 *
 *     deno task bench:growth [--only width] [--device gpu]
 *
 * Prints Markdown: of each quantity four sizes, the others kept, and the exponent p of time ~ size^p between the last
 * two and over all. One size costs what the original's model does: SFT, hidden 512, 8 layers, pictures known.
 */
import { parseArgs } from "node:util";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { measureCalls, type Measured } from "./support/measure_calls.ts";
import { TrainingStep, type Workload } from "./support/workload.ts";

const { values: given } = parseArgs({
  options: {
    device: { type: "string", default: "gpu" },
    only: { type: "string", default: "" },
  },
});
using gpu = await Gpu.open(given.device);
const { software } = gpu.info;

/** The slope of the line through the logarithms of some points. */
export function exponent(points: readonly (readonly [number, number])[]): number {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  const mean = (i: 0 | 1) => logs.reduce((sum, point) => sum + point[i], 0) / logs.length;
  const [x0, y0] = [mean(0), mean(1)];
  const over = logs.reduce((sum, [x, y]) => sum + (x - x0) * (y - y0), 0);
  return over / logs.reduce((sum, [x]) => sum + (x - x0) ** 2, 0);
}

const usual = { batch: software ? 1 : 8, length: 300, width: 512, layers: software ? 4 : 8 };
const SIZES: Record<keyof typeof usual, readonly number[]> = {
  batch: software ? [1, 2, 4, 8] : [4, 8, 16, 32],
  length: [250, 500, 1000, 2000],
  width: [256, 512, 768, 1024],
  layers: [2, 4, 8, 16],
};

async function measure({ batch, length, width, layers }: typeof usual): Promise<Measured> {
  const work: Workload = {
    stage: "sft",
    hiddenSize: width,
    layers,
    moe: false,
    lengths: Array(batch).fill(length),
    answer: 50,
    cached: true,
    recomputes: false,
  };
  using step = new TrainingStep(gpu, work);
  const measured = await measureCalls(gpu, () => step.record());
  gpu.trim();
  return measured;
}

const line = (cells: readonly string[]) => console.log(`| ${cells.join(" | ")} |`);
console.log(`${gpu.info.name}, sft, ${JSON.stringify(usual)}\n`);
for (const what of Object.keys(SIZES) as (keyof typeof usual)[]) {
  if (!what.includes(given.only)) continue;
  line([what, "s", "host ms", "peak memory"]);
  line(Array(4).fill("---"));
  const points: [number, Measured][] = [];
  for (const size of SIZES[what]) {
    const measured = await measure({ ...usual, [what]: size });
    points.push([size, measured]);
    const { seconds, host, peak } = measured;
    line([`${size}`, seconds.toFixed(3), (1e3 * host).toFixed(1), formatBytes(peak)]);
  }
  const fitted = (of: (measured: Measured) => number, from: number) =>
    exponent(points.slice(from).map(([size, measured]) => [size, of(measured)])).toFixed(2);
  const times = ({ seconds }: Measured) => seconds;
  console.log(
    `\ntime ~ ${what}^${fitted(times, 0)} over all, ^${fitted(times, -2)} at the end; ` +
      `memory ~ ${what}^${fitted(({ peak }) => peak, 0)}\n`,
  );
}
