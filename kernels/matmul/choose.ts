import type { Gpu } from "../runtime/gpu.ts";
import type { Precision } from "../runtime/precision.ts";
import { gemvProduct, gemvTakes } from "./gemv.ts";
import { imageProduct } from "./image_product.ts";
import type { Layout, Product } from "./problem.ts";
import { smallProduct } from "./small.ts";
import { softwareProduct, softwareTakes } from "./software.ts";
import { type Tile, tiledProduct, TILES, tileTakes, type Tiling } from "./tiled.ts";

/** A kernel for matrix products, and how to use it. */
export type Choice =
  | { readonly family: "small" | "gemv" | "image" | "software" }
  | { readonly family: "tiled" } & Tiling;

/** What measuring and checking have found on a device. */
export interface Tuning {
  /** The fastest kernel for each class of products, see `productClass`. */
  readonly choices: Readonly<Record<string, Choice>>;
  /** Kernels that compute wrongly there, see `kernelName`. They are never chosen. */
  readonly wrong: readonly string[];
}

/** What of a product its kernel is chosen by. */
export interface ProductShape {
  /** How the operands lie in memory. */
  readonly layout: Layout;
  /** Rows of the result. */
  readonly m: number;
  /** Columns of the result. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** To what the operands are rounded. */
  readonly precision: Precision;
}

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
      return tiledProduct(product, choice);
  }
}

/**
 * The kernel of a choice by name, however k is cut: `tiled/128`, `tiled/128/float16`, `tiled/64/float16_sums/float16`.
 */
export function kernelName(choice: Choice, precision: Precision): string {
  const name = choice.family === "tiled"
    ? `tiled/${choice.tile}${choice.float16Sums ? "/float16_sums" : ""}`
    : choice.family;
  return precision === "float32" ? name : `${name}/${precision}`;
}

const FAMILIES: readonly unknown[] = ["small", "gemv", "software"] satisfies Choice["family"][];

/** Reads a tuning from JSON that somebody may have changed; nothing if it is not one. */
export function parseTuning(json: unknown): Tuning | undefined {
  const { choices, wrong } = fieldsOf(json);
  const names = Array.isArray(wrong) && wrong.every((name) => typeof name === "string");
  const isObject = typeof choices === "object" && choices !== null;
  if (!names || !isObject || !Object.values(choices).every(isChoice)) return undefined;
  return { choices: choices as Tuning["choices"], wrong };
}

function isChoice(json: unknown): json is Choice {
  const { family, tile, slices = 1, float16Sums = false } = fieldsOf(json);
  if (family !== "tiled") return FAMILIES.includes(family);
  return TILES.includes(tile as Tile) && typeof float16Sums === "boolean" &&
    Number.isInteger(slices) && Number(slices) >= 1 && Number(slices) <= WORKGROUPS; // what the rule takes at most
}

function fieldsOf(json: unknown): Record<string, unknown> {
  return typeof json === "object" && json !== null ? json as Record<string, unknown> : {};
}

const TUNINGS = new WeakMap<Gpu, Tuning>();

/** Lets what was found on a device's adapter stand above the rules from now on, or the rules alone again. */
export function useTuning(gpu: Gpu, tuning: Tuning | undefined): void {
  if (tuning) TUNINGS.set(gpu, tuning);
  else TUNINGS.delete(gpu);
}

/** What stands above the rules on a device, if anything. */
export function tuningOf(gpu: Gpu): Tuning | undefined {
  return TUNINGS.get(gpu);
}

/**
 * Names the products that one measured choice can stand for: the same layout, extents of like size, and the same
 * remainders by 4, the same precision. For example `NT/1024/512/512/000`.
 */
export function productClass({ layout, m, n, k, precision }: ProductShape): string {
  const extents = [m, n, k];
  const sizes = extents.map((x) => 2 ** Math.ceil(Math.log2(x)));
  const rest = extents.map((x) => x % 4 ? 1 : 0).join("");
  return `${layout}/${sizes.join("/")}/${rest}${precision === "float32" ? "" : `/${precision}`}`;
}

/** Whether a product reads the image of its weight. */
export function takesImage({ layout, b }: Pick<Product, "layout" | "b">): boolean {
  return layout === "NT" && b.image !== undefined;
}

/** Chooses the kernel for a product: what was measured, or else by rule, but none that was found to be wrong. */
export function chooseKernel(given: Product): Choice {
  const product = { ...given, m: given.chosenFor ?? given.m };
  if (takesImage(product)) return { family: "image" };
  return preferred(product.out.gpu, kernelsFor(product.out.gpu, product));
}

/** The kernels that there are for a product. */
export interface Kernels {
  /** What is chosen by rule. */
  readonly rule: Choice;
  /** The class of products that one measured choice stands for. */
  className(): string;
  /** What a kernel is called. */
  nameOf(choice: Choice): string;
  /** Whether a kernel can compute the product. */
  takes(choice: Choice): boolean;
  /** Those that may be the fastest. */
  candidates(): Choice[];
}

/** Those for a product of two matrices. */
export function kernelsFor(gpu: Gpu, shape: ProductShape): Kernels {
  return {
    rule: ruledChoice(gpu, shape),
    className: () => productClass(shape),
    nameOf: (choice) => kernelName(choice, shape.precision),
    takes: (choice) => takes(gpu, choice, shape),
    candidates: () => candidates(gpu, shape),
  };
}

/** What was measured, or else what the rule says, or else any other, but none that was found to be wrong. */
export function preferred(gpu: Gpu, kernels: Kernels): Choice {
  const tuning = TUNINGS.get(gpu);
  if (!tuning) return kernels.rule;
  const right = (choice: Choice) => !tuning.wrong.includes(kernels.nameOf(choice));
  const measured = tuning.choices[kernels.className()];
  const wanted = measured && kernels.takes(measured) ? [measured, kernels.rule] : [kernels.rule];
  return [...wanted, ...kernels.candidates()].find(right) ?? { family: "small" };
}

/** Whether a kernel can compute a product on a device. */
export function takes(gpu: Gpu, choice: Choice, shape: ProductShape): boolean {
  switch (choice.family) {
    case "small":
      return true;
    case "image": // is decided by the weight, not by the shape
      return false;
    case "gemv":
      return gemvTakes(shape);
    case "software":
      return softwareTakes(gpu, shape);
    case "tiled":
      return tileTakes(gpu, choice, shape);
  }
}

/** The choice by rule. */
export function ruledChoice(gpu: Gpu, shape: ProductShape): Choice {
  return gpu.info.software ? chooseSoftware(gpu, shape) : chooseGpu(gpu, shape);
}

/** Multiplications from which a kernel without tiles is not worth measuring. */
export const LARGE = 2 ** 24;

/** The kernels that may be the fastest for a product on a device. */
export function candidates(gpu: Gpu, shape: ProductShape): Choice[] {
  const { m, n, k } = shape;
  const all: Choice[] = [{ family: "gemv" }];
  if (gpu.info.software) all.push({ family: "software" });
  else {
    for (const tile of TILES) {
      for (let slices = 1; slices <= MOST_SLICES; slices *= 2) {
        const few = tileCount(shape, tile) * slices <= 2 * WORKGROUPS;
        if (slices > 1 && (!few || k < slices * SLICE / 2)) continue;
        const choice: Choice = { family: "tiled", tile, slices };
        all.push(choice, { ...choice, float16Sums: true });
      }
    }
  }
  if (m * n * k < LARGE) all.push({ family: "small" });
  return all.filter((choice) => takes(gpu, choice, shape));
}

/** Multiplications below which the software adapter's large kernel does not earn its seconds of compilation. */
const WORTH_COMPILING = 2 ** 20;

function chooseSoftware(gpu: Gpu, shape: ProductShape): Choice {
  const { m, n, k } = shape;
  if (gemvTakes(shape)) return { family: "gemv" };
  const large = m >= 16 && n >= 16 && k >= 16 && m * n * k >= WORTH_COMPILING;
  return { family: large && softwareTakes(gpu, shape) ? "software" : "small" };
}

/** Workgroups that keep a large GPU busy to the end, the k that a slice should keep at least, and how many are tried. */
const WORKGROUPS = 256, SLICE = 256, MOST_SLICES = 16;

function tileCount({ m, n }: ProductShape, tile: Tile): number {
  return Math.ceil(m / tile) * Math.ceil(n / tile);
}

/** The largest tile of which there are enough to occupy the GPU, with k cut where even the smaller ones are few. */
function chooseGpu({ info }: Gpu, shape: ProductShape): Choice {
  const { layout, m, n, k, precision } = shape;
  if (gemvTakes(shape)) return { family: "gemv" };
  if (m * n * k < 2 ** 15) return { family: "small" };
  const tile = Math.min(m, n) > 32 ? 64 : 32;
  const float16Sums = precision === "float16" && layout === "NT" && tile === 64;
  const largest = !float16Sums && !info.fewRegisters && tileCount(shape, 128) >= WORKGROUPS;
  if (largest) return { family: "tiled", tile: 128 };
  const slices = Math.min(Math.ceil(WORKGROUPS / tileCount(shape, tile)), Math.floor(k / SLICE));
  return { family: "tiled", tile, slices: Math.max(slices, 1), ...float16Sums && { float16Sums } };
}
