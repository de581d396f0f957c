/**
 * A rank of `bench/distributed.ts`: backward passes of the 26M language model whose gradients are summed over the ranks,
 * during the pass and after it in turns. The first rank prints the medians as JSON.
 */
import { startTape } from "../kernels/elementwise.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { miniMindConfig } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { Vlm } from "../model/vlm.ts";
import { GradientSums } from "../train/gradient_sums.ts";
import { openCommunicator } from "../train/mpi.ts";

/** Median seconds. */
export interface Overlap {
  /** From the first command of the backward pass until the device has done the last. */
  backward: number;
  /** Reading, summing and writing back by themselves. */
  sums: number;
  /** The backward pass, then the sums. */
  after: number;
  /** The sums during the backward pass. */
  during: number;
}

const [tokens = 64, rounds = 9, link = Infinity] = Deno.args.map(Number);

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

async function measure(): Promise<void> {
  await using ranks = openCommunicator(600);
  using gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE"));
  const language = miniMindConfig();
  const colours = [0, 0, 0] as const;
  const config = { language, imageMean: colours, imageStd: colours };
  using vlm = new Vlm(gpu, config, () => "language");
  vlm.parameters.initialize(new Random(1));
  const ids = Uint32Array.from({ length: tokens }, (_, i) => (i * 7919) % language.vocab_size);
  const batch = {
    ids,
    lengths: [tokens],
    labelRows: Uint32Array.from({ length: tokens - 1 }, (_, i) => i),
    targets: ids.slice(1),
    imageRows: new Uint32Array(),
    pictures: new Uint8Array(),
    pictureCount: 0,
    samples: 1,
  };
  /** Takes at least as long as a ring over a link of so many bytes a second. */
  const overLink = async (values: Float32Array<ArrayBuffer>) => {
    const bytes = 2 * (ranks.size - 1) / ranks.size * values.byteLength;
    const time = new Promise((resolve) => setTimeout(resolve, 1000 * bytes / link));
    await Promise.all([ranks.sum(values), time]);
  };
  const round = async (backward: boolean, during: boolean, sum: boolean): Promise<number> => {
    using _scope = gpu.scope();
    using tape = startTape(gpu);
    const { loss } = vlm.losses(batch, 1);
    using seed = gpu.detached(() => gpu.tensor(Float32Array.of(1), [1]));
    await gpu.wait();
    await ranks.sum(new Float64Array(1)); // all begin together
    const start = performance.now();
    using sums = new GradientSums(gpu, ranks, vlm.groups, overLink);
    if (backward) {
      for (const parameter of tape.play([loss], seed)) if (during) await sums.complete(parameter);
    }
    if (sum) await sums.finish();
    else await gpu.wait();
    vlm.parameters.zeroGradients();
    return (performance.now() - start) / 1000;
  };
  const ways = {
    backward: () => round(true, false, false),
    sums: () => round(false, false, true),
    after: () => round(true, false, true),
    during: () => round(true, true, true),
  };
  const seconds: Record<keyof Overlap, number[]> = {
    backward: [],
    sums: [],
    after: [],
    during: [],
  };
  for (const way of Object.values(ways)) await way();
  for (let i = 0; i < rounds; i++) {
    for (const way of ["backward", "sums", "after", "during"] as const) {
      seconds[way].push(await ways[way]());
    }
  }
  if (ranks.rank > 0) return;
  const medians = Object.entries(seconds).map(([way, values]) => [way, median(values)]);
  console.log(JSON.stringify(Object.fromEntries(medians)));
}

await measure();
