import type { Gpu } from "../runtime/gpu.ts";
import type { Kernel } from "../runtime/kernel.ts";
import { namedTexture } from "../runtime/textures.ts";
import { entry } from "../runtime/wgsl.ts";
import { type Operands, operandsOf, type Product } from "./problem.ts";

/** Rows and steps of k of the left operand that the texture holds at once. */
export const ROWS = 1024, DEPTH = 1024;
/** Steps of k that lie beside each other: rows of so many numbers follow each other, which the caches like. */
const PANEL = 128;

/** The texel of the first row and the given step of k, after those with which the texture was filled. */
export function panelTexel(step: number): [x: number, y: number] {
  return [step % PANEL / 4, Math.floor(step / PANEL) * ROWS];
}

/**
 * Puts rows of the left operand into the texture through which all products of a device pass, four steps of k in a texel,
 * see `panelTexel`; zeros beyond the last k.
 */
export function leftTexture(
  { layout, a, m, k, precision }: Pick<Product, "layout" | "a" | "m" | "k" | "precision">,
  row: number,
  rows: number,
  start: number,
  depth: number,
): GPUTexture {
  const { gpu } = a;
  const texture = namedTexture(gpu, "left operand", PANEL / 4, ROWS * DEPTH / PANEL);
  const texels = depth / 4;
  const read = operandsOf({ a, b: a, precision });
  if (layout === "TN") {
    const workgroups = [Math.ceil(rows / 32), Math.ceil(texels / 8)] as const;
    gpu.run(
      transposeKernel(gpu, read),
      [a, texture],
      [row / 4, rows / 4, m / 4, start, k, texels],
      workgroups,
    );
  } else if (precision === "float32" && k % PANEL === 0) {
    using part = a.view([rows, k], row * k);
    for (let step = 0; step < depth; step += PANEL) {
      gpu.copyToTexture(part, start + step, PANEL, texture, panelTexel(step));
    }
  } else {
    const workgroups = [Math.ceil(texels / 8), Math.ceil(rows / 8)] as const;
    gpu.run(copyKernel(gpu, read), [a, texture], [row, rows, start / 4, texels, k / 4], workgroups);
  }
  return texture;
}

function copyKernel(gpu: Gpu, { key, code, a }: Operands): Kernel {
  return gpu.kernel(`matmul_software_copy${key}`, () =>
    `${code}
@group(0) @binding(0) var<storage, read> a: array<${a.type(4)}>;
@group(0) @binding(1) var texture: texture_storage_2d<rgba32float, write>;
struct Params { row: u32, rows: u32, start: u32, texels: u32, width: u32 }
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        64,
        `let q = workgroup.x * 8u + (lane & 7u);
  let row = workgroup.y * 8u + (lane >> 3u);
  let at = p.start + q;
  if (q < p.texels && row < p.rows) {
    let value = ${a.read(4, "(p.row + row) * p.width + min(at, p.width - 1u)")};
    textureStore(texture, ${place("q", "row")}, select(vec4f(), value, at < p.width));
  }`,
      )
    }`);
}

function transposeKernel(gpu: Gpu, { key, code, a }: Operands): Kernel {
  const load = [0, 1, 2, 3].map((i) => `
    let a${i} = select(vec4f(), ${
    a.read(4, `min(at + ${i}u, p.k - 1u) * p.width + p.group + g`)
  }, at + ${i}u < p.k);`);
  const store = [..."xyzw"].map((c, i) => `
    textureStore(texture, ${
    place("q", `g * 4u + ${i}u`)
  }, vec4f(a0.${c}, a1.${c}, a2.${c}, a3.${c}));`);
  return gpu.kernel(`matmul_software_transpose${key}`, () =>
    `${code}
@group(0) @binding(0) var<storage, read> a: array<${a.type(4)}>;
@group(0) @binding(1) var texture: texture_storage_2d<rgba32float, write>;
struct Params { group: u32, groups: u32, width: u32, start: u32, k: u32, texels: u32 }
@group(0) @binding(2) var<uniform> p: Params;
${
      entry(
        gpu,
        64,
        `let g = workgroup.x * 8u + (lane & 7u);
  let q = workgroup.y * 8u + (lane >> 3u);
  let at = p.start + q * 4u;
  if (g < p.groups && q < p.texels) {${load.join("")}${store.join("")}
  }`,
      )
    }`);
}

/** WGSL of the texel of a row's quad. */
const place = (quad: string, row: string): string =>
  `vec2u(${quad} % ${PANEL / 4}u, ${quad} / ${PANEL / 4}u * ${ROWS}u + ${row})`;
