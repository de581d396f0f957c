import {
  faultOf,
  LAYOUTS,
  randomOperands,
  rowOfProduct,
  type Trial,
  trialError,
} from "../matmul/check.ts";
import type { Choice } from "../matmul/choose.ts";
import type { Gpu } from "../runtime/gpu.ts";
import type { Precision } from "../runtime/precision.ts";
import { range } from "../runtime/wgsl.ts";
import { groupedKernels } from "./choose.ts";
import type { GroupedShape } from "./problem.ts";
import { type GroupedFamily, groupedProduct } from "./product.ts";

/** A grouped product of random operands. Its experts share the tiles evenly, all but the last, which is not used. */
export function groupedTrial(gpu: Gpu, shape: GroupedShape, random: () => number): Trial {
  const { layout, m, n, k, experts, tile, precision } = shape;
  const sums = layout === "TN";
  const tiles = (sums ? k : m) / tile, used = Math.max(tiles - 1, 1);
  const expertOf = range(tiles).map((t) => t < used ? Math.floor(t * experts / used) : experts);
  const firsts = range(experts + 1).map((e) => expertOf.filter((one) => one < e).length);
  const groups = {
    ...{ experts, tile, tiles },
    tileExperts: gpu.tensor(Uint32Array.from(expertOf), [tiles]),
    firstTiles: gpu.tensor(Uint32Array.from(firsts), [experts + 1]),
  };
  const [[hostA, a], [hostB, b]] = randomOperands(
    gpu,
    sums ? shape : { ...shape, n: experts * n },
    random,
  );
  const left = a.view(sums ? [k, m] : [m, k]);
  const right = b.view(sums ? [k, n] : layout === "NT" ? [experts * n, k] : [experts * k, n]);
  const out = gpu.empty([sums ? experts * m : m, n]);
  return {
    out,
    rows: sums ? experts * m : used * tile,
    run({ family }, accumulate = false) {
      const known = family as GroupedFamily;
      groupedProduct(layout, left, right, out, groups, accumulate, precision, known);
    },
    row(i) {
      if (!sums) {
        const first = expertOf[Math.floor(i / tile)]! * n * k;
        return rowOfProduct(hostA, hostB.subarray(first, first + n * k), shape, i);
      }
      const e = Math.floor(i / m);
      const [first, last] = [firsts[e]! * tile, firsts[e + 1]! * tile];
      const own = (host: Float32Array, width: number) => host.subarray(first * width, last * width);
      return rowOfProduct(own(hostA, m), own(hostB, n), { ...shape, k: last - first }, i % m);
    },
  };
}

/** Widths of the operands, odd and even. */
const WIDTHS: readonly (readonly [number, number])[] = [[17, 5], [36, 68], [64, 32]];

/** Compares a kernel with float64 as `checkKernel` does, for five tiles of three experts. */
export async function checkGrouped(
  gpu: Gpu,
  choice: Choice,
  precision: Precision,
  random: () => number,
): Promise<string | undefined> {
  for (const layout of LAYOUTS) {
    for (const tile of [64, 128] as const) {
      for (const [n, width] of WIDTHS) {
        const [m, k] = layout === "TN" ? [width, 5 * tile] : [5 * tile, width];
        const shape: GroupedShape = { layout, m, n, k, precision, experts: 3, tile };
        if (!groupedKernels(gpu, shape).takes(choice)) continue;
        using _scope = gpu.scope();
        const trial = groupedTrial(gpu, shape, random);
        const expected = new Map(range(trial.rows).map((i) => [i, trial.row(i)]));
        trial.run(choice);
        const bare = await trialError(trial, expected);
        trial.run(choice, true);
        const fault = faultOf(choice, shape, Math.max(bare, await trialError(trial, expected, 2)));
        if (fault) return fault;
      }
    }
  }
  return undefined;
}
