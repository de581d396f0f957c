import { type Choice, kernelName, type Kernels, LARGE, productClass } from "../matmul/choose.ts";
import type { Gpu } from "../runtime/gpu.ts";
import type { GroupedShape } from "./problem.ts";
import { softwareTakesGrouped } from "./software.ts";
import { tiledSide } from "./tiled.ts";

/** Multiplications below which the software adapter's large kernel does not earn its seconds of compilation. */
const WORTH_COMPILING = 2 ** 22;

/** The kernels that there are for a grouped product. Short tiles have but one. */
export function groupedKernels(gpu: Gpu, shape: GroupedShape): Kernels {
  const { layout, m, n, k, experts, tile, precision } = shape;
  const small: Choice = { family: "small" };
  const large: Choice | undefined = !gpu.info.software
    ? { family: "tiled", tile: tiledSide(gpu, shape) }
    : softwareTakesGrouped(gpu, shape)
    ? { family: "software" }
    : undefined;
  const short = tile < 64 && layout === "NT";
  const all: Choice[] = short ? [{ family: "gemv" }] : large ? [large, small] : [small];
  const worthIt = Math.min(n, layout === "TN" ? m : k) >= 16 &&
    (!gpu.info.software || m * n * k >= WORTH_COMPILING);
  const nameOf = (choice: Choice) => `experts/${kernelName(choice, precision)}`;
  return {
    rule: short || worthIt ? all[0]! : small,
    className: () => `experts/${experts}/${tile}/${productClass(shape)}`,
    nameOf,
    takes: (choice) => all.some((one) => nameOf(one) === nameOf(choice)),
    candidates: () => large && !short && m * n * k >= LARGE ? [large] : all,
  };
}
