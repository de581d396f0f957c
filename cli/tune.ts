/** `deno task tune`: measures which kernel is the fastest for each class of matrix products on an adapter. */

import { openGpu } from "../data/open_gpu.ts";
import { readTuning, writeTuning } from "../data/tuning_file.ts";
import type { Tuning } from "../kernels/matmul/choose.ts";
import {
  holds,
  kernelsOf,
  type Timed,
  type TunedClass,
  type TunedShape,
  tuneProducts,
} from "../kernels/matmul/tune.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { clipVisionConfig, miniMindConfig } from "../model/config.ts";
import { expertShapes, productShapes, type Workload } from "../model/product_shapes.ts";
import { Random } from "../model/random.ts";
import { flag, list, text } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";

const STAGES: Readonly<Record<string, readonly Omit<Workload, "precision">[]>> = {
  pretrain: [{ tokens: 16 * 246, labels: 16 * 24, pictures: 16, trains: "projection" }],
  sft: [{ tokens: 4 * 413, labels: 4 * 180, pictures: 4, trains: "all" }],
  decode: [
    { tokens: 1, labels: 1, pictures: 0, trains: "nothing" },
    { tokens: 8, labels: 8, pictures: 0, trains: "nothing" },
    { tokens: 246, labels: 1, pictures: 1, trains: "nothing" },
  ],
};
const DTYPES: readonly Precision[] = ["float32", "float16", "bfloat16"];
/** The tower that MiniMind-V has: CLIP ViT-B/16. */
const VISION = clipVisionConfig({ patch_size: 16 });

/** The options of `tune`. */
export const options = {
  redo: flag({ help: "Measure again what has been measured." }),
  hidden_size: list({ help: "Widths of the language model.", default: ["512", "768"] }),
  stages: list({ help: "What is done with it.", default: Object.keys(STAGES) }),
  dtypes: list({ help: "Precisions of its products.", default: ["float32"] }),
  device: text({
    help: "Adapter: gpu, software, or a piece of its name.",
    default: "gpu",
    placeholder: "NAME",
  }),
};

/** Measures, prints a table, and keeps what was found for all other commands. Ctrl-C keeps what there is so far. */
export async function run(args: readonly string[]): Promise<number> {
  const given = parseOptions(options, args);
  const stages = oneOf("stages", given.stages, Object.keys(STAGES));
  const dtypes = oneOf("dtypes", given.dtypes, DTYPES);
  const widths = given.hidden_size.map(Number);
  const bad = widths.find((width) => !(width >= 8 && width % 8 === 0));
  if (bad !== undefined) {
    throw new UsageError(`--hidden_size must be multiples of 8, but is "${given.hidden_size}".`);
  }
  using gpu = await openGpu(given.device);
  const known = given.redo ? undefined : await readTuning(gpu);
  const shapes: TunedShape[] = [];
  for (const precision of dtypes) {
    if (precision === "float16" && !gpu.info.float16) {
      throw new UsageError(`"${gpu.info.name}" has no float16; leave it out of --dtypes.`);
    }
    for (const hidden_size of widths) {
      for (const use_moe of [false, true]) {
        const config = { language: miniMindConfig({ hidden_size, use_moe }), vision: VISION };
        for (const stage of stages.flatMap((stage) => STAGES[stage]!)) {
          const work = { ...stage, precision };
          shapes.push(...productShapes(config, work), ...expertShapes(config, work));
        }
      }
    }
  }
  const held = shapes.filter((shape) => holds(gpu, shape)); // no step can have the others here
  const classes = new Map(held.map((shape) => [kernelsOf(gpu, shape).className(), shape]));
  for (const name of Object.keys(known?.tuning.choices ?? {})) classes.delete(name);
  if (known && classes.size === 0) {
    console.log(`Measured on ${known.measured} already; --redo measures again.`);
    return 0;
  }
  console.log(`${gpu.info.name}: ${classes.size} classes of products`);
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  Deno.addSignalListener("SIGINT", interrupt);
  try {
    let done = 0;
    const random = new Random(0);
    const result = await tuneProducts(gpu, classes.values(), () => random.float(), {
      budget: gpu.info.software ? 0.1 : 0.05,
      signal: stop.signal,
      onClass: (tuned) =>
        console.log(`${`${++done}/${classes.size}`.padStart(8)}  ${line(gpu, tuned)}`),
    });
    for (const { name, reason } of result.wrong) {
      console.log(`warning: the kernel ${name} is wrong here and will not be used: ${reason}.`);
    }
    const path = await writeTuning(gpu, merged(known?.tuning, result.tuning));
    const changed = result.classes.filter(({ rule, chosen }) => rule?.choice !== chosen.choice);
    console.log(`${changed.length} of ${done} are faster than by rule. Kept in ${path}.`);
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
  }
  return stop.signal.aborted ? 130 : 0;
}

function oneOf<T extends string>(
  name: string,
  given: readonly string[],
  known: readonly T[],
): readonly T[] {
  const wrong = given.find((word) => !(known as readonly string[]).includes(word));
  if (given.length > 0 && wrong === undefined) return given as readonly T[];
  throw new UsageError(`--${name} must be of ${known.join(", ")}, but is "${wrong ?? ""}".`);
}

function merged(known: Tuning | undefined, found: Tuning): Tuning {
  return {
    choices: { ...known?.choices, ...found.choices },
    wrong: [...new Set([...known?.wrong ?? [], ...found.wrong])],
  };
}

/** One class: the product, what is chosen and how fast it is, and what the rule's choice reaches. */
function line(gpu: Gpu, { shape, rule, chosen }: TunedClass): string {
  const { layout, m, n, k } = shape;
  const speed = ({ seconds }: Timed) => `${(2e-9 * m * n * k / seconds).toFixed(1)} GFLOP/s`;
  const name = ({ choice }: Timed) => {
    const slices = choice.family === "tiled" && (choice.slices ?? 1) > 1;
    return `${kernelsOf(gpu, shape).nameOf(choice)}${slices ? ` in ${choice.slices} slices` : ""}`;
  };
  const product = `${layout} ${m} × ${n} × ${k}`.padEnd(24);
  const found = `${name(chosen).padEnd(24)} ${speed(chosen).padStart(16)}`;
  if (!rule) return `${product}${found}`;
  return `${product}${found}${
    rule.choice === chosen.choice
      ? "  as by rule"
      : `  ${(rule.seconds / chosen.seconds).toFixed(2)}× of ${name(rule)}`
  }`;
}
