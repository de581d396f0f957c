import type { Product } from "./problem.ts";
import { smallProduct } from "./small.ts";

/** The kernels for matrix products. */
export type Family = "small";

/** How each family computes a product. */
export const FAMILIES: Readonly<Record<Family, (product: Product) => void>> = {
  small: smallProduct,
};

/** The family for a product on its device. */
export function chooseFamily(_product: Product): Family {
  return "small";
}
