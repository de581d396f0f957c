import { BLOCK_SIDE } from "../matmul/image.ts";
import type { Dtype, Tensor } from "../runtime/tensor.ts";

/** Choices up to which, in inference, each has a tile of one row and so a product of its own. */
const FEW = 32;
/** Choices for each expert from which larger tiles earn the padding that they need. */
const MANY = 128;

/** Rows that are sorted by the expert that computes them; each expert's run is padded to whole tiles. */
export interface ExpertGroups {
  /** Number of experts, E. */
  readonly experts: number;
  /** Rows of a tile, what a workgroup of a matrix product takes. */
  readonly tile: 1 | 8 | 32 | 64 | 128;
  /** Tiles that are there, P / tile. Which of them are used is known on the device alone. */
  readonly tiles: number;
  /** The expert of each tile, or E where a tile is not used: uint32 [tiles]. */
  readonly tileExperts: Tensor;
  /** First tile of each expert, and the end of the last: uint32 [E + 1]. */
  readonly firstTiles: Tensor;
}

/** Whether there is an image of the experts' matrices below each other, each of them whole blocks. */
export function isImaged({ image, rows }: Tensor, experts: number): boolean {
  return image !== undefined && rows / experts % BLOCK_SIDE === 0;
}

/** What the experts' products are for and made by. */
export interface GroupedUse {
  /** Whether a tape records, so that there are products for gradients. */
  readonly recorded: boolean;
  /** What kind of numbers the experts' weights are, where these have images, see `isImaged`. */
  readonly imaged: Dtype | undefined;
}

/** How many tiles of how many rows there are for so many choices. */
export function tilesOf(
  count: number,
  experts: number,
  use: GroupedUse,
): Pick<ExpertGroups, "tile" | "tiles"> {
  const tile = tileOf(count, count / experts, use);
  return { tile, tiles: Math.min(count, Math.floor((count + experts * (tile - 1)) / tile)) };
}

/** Rows of a tile for so many choices, so many of them for each expert. */
function tileOf(
  count: number,
  each: number,
  { recorded, imaged }: GroupedUse,
): ExpertGroups["tile"] {
  if (imaged && !recorded) {
    // 8 rows of an image take about as long as one, or as two where a number is fewer bytes
    if (each < (imaged === "float32" ? 2 : 4)) return 1;
    return each < 33 ? 8 : 32;
  }
  if (!recorded && count <= FEW) return 1;
  return each < MANY ? 64 : 128;
}
