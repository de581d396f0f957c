import type { Gpu } from "../runtime/gpu.ts";
import { type Kernel, roundUp } from "../runtime/kernel.ts";
import type { Reader } from "../runtime/precision.ts";
import { entry } from "../runtime/wgsl.ts";
import { ADD, addends, additions, type Operands, operandsOf, type Product } from "./problem.ts";

/** Columns of C that a workgroup computes; every lane has a row of them. */
export const COLUMNS = 32;
/** Steps of k between two barriers. */
const CHUNK = 32;
/** Steps of k in a dispatch, all of them text: the compiler's work grows with it, the passes over C shrink with it. */
const SLAB = 128;
/** Subgroups in a workgroup, each with 8 rows of C; together they load the right operand's tiles. The second suits pictures of 197 rows. */
const SUBGROUPS = [32, 25];
/** Multiplications below which a product is cut into smaller workgroups, so that it has enough of them for all processors. */
const SMALL = 2 ** 25, SMALL_SUBGROUPS = 16;
/** Rows and steps of k of the left operand that the texture holds at once. */
export const ROWS = 1024, DEPTH = 8192;

/** Whether this kernel takes a product: rows of four numbers, and 8 lanes to a subgroup. */
export function softwareTakes(
  { info }: Gpu,
  { layout, n, m, k }: Pick<Product, "layout" | "m" | "n" | "k">,
): boolean {
  return info.subgroupSize === 8 && n % 4 === 0 && (layout === "TN" ? m : k) % 4 === 0;
}

/**
 * A product on a processor that poses as a GPU with 8 lanes.
 *
 * There a load at a varying address is a scalar load for each lane, cheapest from a texture, and a load from workgroup
 * memory at an index known to the compiler is free. So the left operand lies in a texture, a lane holds a row of 32
 * columns of C, the right operand passes through workgroup memory, and k is unrolled as text, a slab for each dispatch.
 */
export function softwareProduct(product: Product): void {
  const { layout, b, out, m, n, k } = product;
  const { gpu } = out;
  const texture = textureOf(gpu);
  const part = wholeOf(product);
  const kernel = slabKernel(gpu, operandsOf(product), part);
  const block = 8 * part.subgroups, most = ROWS - ROWS % block;
  for (let row = 0; row < m; row += most) {
    const rows = Math.min(most, m - row);
    for (let start = 0; start < k; start += DEPTH) {
      const depth = roundUp(Math.min(DEPTH, k - start), SLAB);
      fillTexture(product, texture, row, rows, start, depth);
      for (let step = 0; step < depth; step += SLAB) {
        const add = start + step === 0 ? additions(product) : ADD.out;
        gpu.run(
          kernel,
          [b, texture, ...addends(product), out],
          [row, rows, n, k, start + step, step / 4, add, layout === "NT" ? 0 : 1],
          [Math.ceil(rows / block), Math.ceil(n / COLUMNS)],
        );
      }
    }
  }
}

/** WGSL by which a workgroup finds its part of the work, and its extents. */
export interface SlabPart {
  /** Names it in the kernel's key. */
  readonly name: string;
  /** Subgroups in a workgroup. */
  readonly subgroups: number;
  /** Steps of k in a dispatch. */
  readonly slab: number;
  /** Binding 5 where there is one. */
  readonly declarations: string;
  /** Parameters after the others, each with a comma before it. */
  readonly params: string;
  /** Statements before all others. */
  readonly code: string;
  /** The first vector of the right operand, as the beginning of a sum. */
  readonly firstB: string;
  /** The number of rows of the result above the matrix, as the beginning of a sum. */
  readonly above: string;
}

const whole = (subgroups: number): SlabPart => ({
  name: `whole/${subgroups}`,
  subgroups,
  slab: SLAB,
  declarations: "",
  params: "",
  code: "",
  firstB: "",
  above: "",
});
const WHOLE = SUBGROUPS.map(whole), SMALL_WHOLE = whole(SMALL_SUBGROUPS);

/** The workgroups that compute the fewest rows beyond the last, or those for small products. */
function wholeOf({ m, n, k }: Product): SlabPart {
  if (m * n * k < SMALL) return SMALL_WHOLE;
  const padded = ({ subgroups }: SlabPart) => roundUp(m, 8 * subgroups);
  return WHOLE.reduce((best, part) => padded(part) < padded(best) ? part : best);
}

const TEXTURES = new WeakMap<Gpu, GPUTexture>();

/** The texture through which all products of a device pass, one after another. */
export function textureOf(gpu: Gpu): GPUTexture {
  let texture = TEXTURES.get(gpu);
  if (!texture) {
    texture = gpu.device.createTexture({
      // Four texels more than needed, lest all rows fall on the same lines of the cache.
      size: [DEPTH / 4 + 4, ROWS],
      format: "rgba32float",
      usage: GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.STORAGE_BINDING |
        GPUTextureUsage.COPY_DST,
      label: "left operand",
    });
    TEXTURES.set(gpu, texture);
  }
  return texture;
}

/** Puts rows of the left operand into the texture: texel (q, r) holds k = 4q … 4q + 3 of row r, zeros beyond the last k. */
export function fillTexture(
  { layout, a, m, k, precision }: Pick<Product, "layout" | "a" | "m" | "k" | "precision">,
  texture: GPUTexture,
  row: number,
  rows: number,
  start: number,
  depth: number,
): void {
  const { gpu } = a;
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
  } else if (depth === k && precision === "float32") {
    using part = a.view([rows, k], row * k);
    gpu.copyToTexture(part, texture, rows, texels);
  } else {
    const workgroups = [Math.ceil(texels / 8), Math.ceil(rows / 8)] as const;
    gpu.run(copyKernel(gpu, read), [a, texture], [row, rows, start / 4, texels, k / 4], workgroups);
  }
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
    textureStore(texture, vec2u(q, row), select(vec4f(), value, at < p.width));
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
    textureStore(texture, vec2u(q, g * 4u + ${i}u), vec4f(a0.${c}, a1.${c}, a2.${c}, a3.${c}));`);
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

/** C += A·B for one slab of k, with A in the texture. Its uniform stands after the result and what `part` binds. */
export function slabKernel(
  gpu: Gpu,
  { key, code, b }: Operands,
  part: SlabPart,
): Kernel {
  return gpu.kernel(`matmul_software/${part.name}${key}`, () => {
    const threads = 8 * part.subgroups;
    const columns = Array.from({ length: COLUMNS }, (_, i) => i);
    // A shuffle of every lane with itself keeps the compiler from computing the sums again after the barrier.
    const freeze = columns.map((i) => `c${i} = subgroupShuffle(c${i}, lane);`).join(" ");
    const chunks = Array.from(
      { length: part.slab / CHUNK },
      (_, chunk) => `
  ${freeze}
  workgroupBarrier();
  ${loadTile(threads, chunk * CHUNK, part.firstB, b)}
  workgroupBarrier();
  ${multiplyChunk(chunk * CHUNK / 4)}`,
    );
    return `${code}
@group(0) @binding(0) var<storage, read> b: array<${b.type(4)}>;
@group(0) @binding(1) var texture: texture_2d<f32>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
${part.declarations}
struct Params { row: u32, rows: u32, n: u32, k: u32, start: u32, texel: u32, add: u32, across: u32${part.params} }
@group(0) @binding(${part.declarations ? 6 : 5}) var<uniform> p: Params;
var<workgroup> tile: array<vec4f, ${COLUMNS * CHUNK / 4}>;
fn store(i: u32, column: u32, product: vec4f) {
  if (column * 4u < p.n) {
    var sum = product;
    if ((p.add & 1u) != 0u) { sum += out[i]; }
    if ((p.add & 2u) != 0u) { sum += bias[column]; }
    if ((p.add & 4u) != 0u) { sum += residual[i]; }
    out[i] = sum;
  }
}
@compute @workgroup_size(${threads}) fn main(@builtin(workgroup_id) workgroup: vec3u,
  @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let t = subgroup * 8u + lane;
  let row = workgroup.x * ${threads}u + t;
  let column = workgroup.y * ${COLUMNS}u;
  ${part.code}
  ${columns.map((i) => `var c${i} = 0.0;`).join(" ")}
  ${chunks.join("")}
  ${freeze}
  workgroupBarrier();
  if (row < p.rows) {
    let q = column / 4u;
    let i = (${part.above}p.row + row) * (p.n / 4u) + q;
    ${
      columns.filter((i) => i % 4 === 0).map((i) =>
        `store(i + ${i / 4}u, q + ${i / 4}u, vec4f(c${i}, c${i + 1}, c${i + 2}, c${i + 3}));`
      ).join("\n    ")
    }
  }
}`;
  });
}

/** WGSL that puts 32 columns and 32 steps of k of B into `tile` [column][k / 4], from B [n, k] or across from B [k, n]. */
function loadTile(threads: number, k: number, firstB: string, b: Reader): string {
  const quads = CHUNK / 4, along = COLUMNS * quads, across = along / 4;
  const each = (count: number, body: string): string =>
    Array.from(
      { length: Math.ceil(count / threads) },
      (_, i) => {
        const guard = (i + 1) * threads > count ? `if (e < ${count}u) ` : "";
        return `{ let e = t + ${i * threads}u; ${guard}{ ${body} } }`;
      },
    )
      .join("\n    ");
  const rows = [0, 1, 2, 3].map((i) =>
    `let b${i} = ${b.read(4, `${firstB}min(at + ${i}u, p.k - 1u) * (p.n / 4u) + group`)};`
  ).join(" ");
  const turned = [..."xyzw"].map((c, i) =>
    `tile[(g * 4u + ${i}u) * ${quads}u + q] = vec4f(b0.${c}, b1.${c}, b2.${c}, b3.${c});`
  ).join(" ");
  return `if (p.across == 0u) {
    ${
    each(
      along,
      `let q = min((p.start + ${k}u) / 4u + e % ${quads}u, p.k / 4u - 1u);
      tile[e] = ${b.read(4, `${firstB}min(column + e / ${quads}u, p.n - 1u) * (p.k / 4u) + q`)};`,
    )
  }
  } else {
    ${
    each(
      across,
      `let g = e % ${COLUMNS / 4}u; let q = e / ${COLUMNS / 4}u;
      let at = p.start + ${k}u + q * 4u; let group = min(column / 4u + g, p.n / 4u - 1u);
      ${rows}
      ${turned}`,
    )
  }
  }`;
}

/** WGSL that adds a chunk's products to c0…c31, all texels first, then arithmetic alone. */
function multiplyChunk(texel: number, group = 16): string {
  const quads = Array.from({ length: CHUNK / 4 }, (_, q) => q);
  const loads = quads.map((q) =>
    `let a${q} = textureLoad(texture, vec2u(p.texel + ${texel + q}u, row), 0);`
  );
  const blocks: string[] = [];
  for (let first = 0; first < COLUMNS; first += group) {
    const columns = Array.from({ length: group }, (_, i) => first + i);
    for (const q of quads) {
      blocks.push(`{
      ${columns.map((i) => `let b${i} = tile[${i * CHUNK / 4 + q}];`).join(" ")}
      ${
        [..."xyzw"].map((c) => columns.map((i) => `c${i} += b${i}.${c} * a${q}.${c};`).join(" "))
          .join("\n      ")
      }
    }`);
    }
  }
  return `{
    ${loads.join("\n    ")}
    ${blocks.join("\n    ")}
  }`;
}
