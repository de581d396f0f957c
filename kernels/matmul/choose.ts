import type { Gpu } from "../runtime/gpu.ts";
import { gemvProduct, gemvTakes } from "./gemv.ts";
import { imageProduct } from "./image_product.ts";
import type { Product } from "./problem.ts";
import { smallProduct } from "./small.ts";
import { softwareProduct, softwareTakes } from "./software.ts";
import { type Tile, tiledProduct } from "./tiled.ts";

/** A kernel for matrix products, and how to use it. */
export type Choice =
  | { readonly family: "small" | "gemv" | "image" | "software" }
  | {
    readonly family: "tiled";
    /** Width of the tiles of the result that a workgroup computes. */
    readonly tile: Tile;
    /** Parts into which k is cut; 1 unless given. */
    readonly slices?: number;
  };

/** Computes a product with a given kernel. The kernel must take the product's extents. */
export function runChoice(choice: Choice, product: Product): void {
  switch (choice.family) {
    case "small":
      return smallProduct(product);
    case "gemv":
      return gemvProduct(product);
    case "image":
      return imageProduct(product);
    case "software":
      return softwareProduct(product);
    case "tiled":
      return tiledProduct(product, choice.tile, choice.slices);
  }
}

const PREFERENCES = new WeakMap<Gpu, Map<string, Choice>>();

/** Makes a choice that was measured stand for a class of products on a device, see `productClass`. */
export function prefer(gpu: Gpu, productClass: string, choice: Choice): void {
  const preferences = PREFERENCES.get(gpu) ?? new Map<string, Choice>();
  PREFERENCES.set(gpu, preferences.set(productClass, choice));
}

/**
 * Names the products that one measured choice can stand for: the same layout, extents of like size, and the same
 * remainders by 4, the same precision. For example `NT/1024/512/512/000`.
 */
export function productClass({ layout, m, n, k, precision }: Product): string {
  const extents = [m, n, k];
  const sizes = extents.map((x) => 2 ** Math.ceil(Math.log2(x)));
  const rest = extents.map((x) => x % 4 ? 1 : 0).join("");
  return `${layout}/${sizes.join("/")}/${rest}${precision === "float32" ? "" : `/${precision}`}`;
}

/** Rows up to which reading an image of the weight again for every eight of them costs less than what else there is. */
const IMAGE_ROWS = 64;

/** Whether a product of few rows reads the image of its weight. */
export function takesImage({ layout, b, m }: Pick<Product, "layout" | "b" | "m">): boolean {
  return layout === "NT" && b.image !== undefined && m <= IMAGE_ROWS;
}

/** Chooses the kernel for a product: what was measured, or else by rule. */
export function chooseKernel(given: Product): Choice {
  const product = { ...given, m: given.chosenFor ?? given.m };
  const { gpu } = product.out;
  if (takesImage(product)) return { family: "image" };
  return PREFERENCES.get(gpu)?.get(productClass(product)) ??
    (gpu.info.software ? chooseSoftware(product) : chooseGpu(product));
}

/** Multiplications below which the software adapter's large kernel does not earn its seconds of compilation. */
const WORTH_COMPILING = 2 ** 20;

function chooseSoftware(product: Product): Choice {
  const { m, n, k } = product;
  if (gemvTakes(product)) return { family: "gemv" };
  const large = m >= 16 && n >= 16 && k >= 16 && m * n * k >= WORTH_COMPILING;
  return { family: large && softwareTakes(product) ? "software" : "small" };
}

/** Workgroups that occupy a large GPU, and the k that a slice should keep at least. */
const WORKGROUPS = 128, SLICE = 256;

/** The largest tile of which there are enough to occupy the GPU, with k cut where even the smaller ones are few. */
function chooseGpu(product: Product): Choice {
  const { m, n, k } = product;
  if (gemvTakes(product)) return { family: "gemv" };
  if (m * n * k < 2 ** 15) return { family: "small" };
  const tiles = (tile: Tile): number => Math.ceil(m / tile) * Math.ceil(n / tile);
  if (tiles(128) >= WORKGROUPS) return { family: "tiled", tile: 128 };
  const tile = Math.min(m, n) > 32 ? 64 : 32;
  const slices = Math.min(Math.ceil(WORKGROUPS / tiles(tile)), Math.floor(k / SLICE));
  return { family: "tiled", tile, slices: Math.max(slices, 1) };
}
