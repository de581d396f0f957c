import type { Gpu } from "../runtime/gpu.ts";
import { range } from "../runtime/wgsl.ts";
import type { Kernel } from "../runtime/kernel.ts";
import type { Reader } from "../runtime/precision.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { addends, additions, endOfKey, finish, operandsOf, type Product } from "./problem.ts";
import { sumSlices } from "./slices.ts";

/** Width of the square tiles of C that a workgroup may compute. */
export type Tile = 32 | 64 | 128;

/** All of them. */
export const TILES: readonly Tile[] = [32, 64, 128];

/** How a product is computed by tiles. */
export interface Tiling {
  /** Width of the tiles of C that a workgroup computes. */
  readonly tile: Tile;
  /** Parts into which k is cut, computed side by side and then summed in order, for few tiles and a long k; 1 unless given. */
  readonly slices?: number;
  /**
   * Whether operands in float16 are multiplied and summed in it too, 32 products at a time, whose sums are added in
   * float32. Where two float16 fit a register that is half as many instructions. For numbers near 1 the error of a
   * product triples, to half of what rounding its operands to bfloat16 makes; sums of 32 beyond 65504 are infinite and
   * products below 6e-5 lose digits. So it is for layers (`NT`) alone, not for gradients under a loss scale, and for
   * tiles of 64.
   */
  readonly float16Sums?: boolean;
}

/** Steps of k whose blocks workgroup memory holds. */
function depthOf({ float16Sums = false }: Tiling): number {
  return float16Sums ? 32 : 16;
}

/** Rows and columns of C that an invocation holds. With them each loads a 4 × 4 block of A or B, in float16 of both. */
const HELD: Readonly<Record<Tile, readonly [number, number]>> = {
  32: [4, 4],
  64: [8, 4],
  128: [8, 8],
};

/** The sums that an invocation holds, by row and four columns. */
function sumsOf(tile: Tile): (readonly [row: number, four: number])[] {
  const [rows, columns] = HELD[tile];
  return range(rows).flatMap((i) => range(columns / 4).map((h) => [i, h] as const));
}

/** Whether a device has the workgroup memory for a kernel, and the kernel takes a kind of products. */
export function tileTakes(
  { device }: Gpu,
  tiling: Tiling,
  { layout, precision }: Pick<Product, "layout" | "precision">,
): boolean {
  const { tile, float16Sums = false } = tiling;
  if (float16Sums && (precision !== "float16" || layout !== "NT" || tile !== 64)) return false;
  const bytes = 2 * tile * depthOf(tiling) * (float16Sums ? 2 : 4);
  return bytes <= device.limits.maxComputeWorkgroupStorageSize;
}

/**
 * A product by tiles that pass through workgroup memory into registers, the usual way on a GPU (see Boehm, "How to
 * Optimize a CUDA Matmul Kernel", 2022). Takes any extents; those that are multiples of 4 are read four at a time.
 */
export function tiledProduct(product: Product, tiling: Tiling): void {
  const { tile, slices = 1 } = tiling;
  const depth = depthOf(tiling);
  const { layout, a, b, out, m, n, k } = product;
  const { gpu } = out;
  const vector = [layout === "TN" ? m : k, layout === "NT" ? k : n, n].every((x) => x % 4 === 0);
  const slice = Math.ceil(k / slices / depth) * depth;
  const count = Math.ceil(k / slice);
  const computed = count === 1 ? product : { ...product, activation: undefined };
  const kernel = tiledKernel(computed, tiling, vector);
  const run = (out: Tensor, add: number): void =>
    gpu.run(
      kernel,
      [a, b, ...addends(product), out],
      [m, n, k, add, slice],
      [Math.ceil(n / tile), Math.ceil(m / tile), count],
    );
  if (count === 1) {
    run(out, additions(product));
  } else {
    using partial = gpu.detached(() => gpu.empty([count, m, n], "float32", "partial products"));
    run(partial, 0);
    sumSlices(product, partial, count);
  }
}

/** WGSL by which a workgroup finds its part of the work. */
export interface TiledPart {
  /** Names it in the kernel's key. */
  readonly name: string;
  /** Binding 5 where there is one, and global variables. */
  readonly declarations: string;
  /** Parameters after m, n, k and add. */
  readonly params: string;
  /** Statements that define `start` and `end`, the steps of k that are summed, the same in all invocations. */
  readonly code: string;
  /** The first element of the right operand. */
  readonly firstB: string;
}

/** Each layer of workgroups has a slice of k. */
const SLICES: TiledPart = {
  name: "slices",
  declarations: "",
  params: "slice: u32",
  code: `let start = workgroup.z * p.slice;
  let end = min(start + p.slice, p.k);`,
  firstB: "0u",
};

const QUAD = [0, 1, 2, 3];
const XYZW = ["x", "y", "z", "w"];

/** The kernel of `tiledProduct`; its uniform stands after the result and what `part` binds. */
export function tiledKernel(
  product: Pick<Product, "layout" | "a" | "b" | "precision" | "activation">,
  tiling: Tiling,
  vector: boolean,
  part: TiledPart = SLICES,
): Kernel {
  const { tile, float16Sums = false } = tiling;
  const { layout, a: { gpu } } = product;
  const read = operandsOf(product, false); // what is rounded on the way costs a third of the speed
  const width = vector ? 4 : 1;
  const key = `matmul_tiled/${part.name}/${layout}/${tile}${
    float16Sums ? "/float16_sums" : ""
  }/${width}${read.key}${endOfKey(product)}`;
  return gpu.kernel(key, () => {
    const [rows, columns] = HELD[tile];
    const held = sumsOf(tile);
    const across = tile / columns;
    const invocations = tile / rows * across;
    const depth = depthOf(tiling);
    const blocks = tile * depth / 16;
    const apart = blocks < invocations; // half of the invocations load A, the others B
    const element = vector ? "vec4f" : "f32";
    const inTile = float16Sums ? "vec4<f16>" : "vec4f";
    // An index that is invariant or constant costs nothing: [four steps][step of them][four rows or columns].
    const chunks = `array<array<array<${inTile}, ${tile / 4}>, 4>, ${depth / 4}>`;
    const shape = { tile, depth, vector, inTile };
    const a = operand("A", read.a, layout !== "TN", shape, "v", "0u");
    const b = operand("B", read.b, layout === "NT", shape, apart ? "v" : "w", part.firstB);
    const both = (what: "fetch" | "fetchInside" | "put") =>
      apart ? `if (loadsB) { ${b[what]} } else { ${a[what]} }` : `${a[what]} ${b[what]}`;
    const fetch = vector
      ? `if (inside && k + ${depth}u <= end) { ${both("fetchInside")} } else { ${both("fetch")} }`
      : both("fetch");
    return `${float16Sums ? "enable f16;" : ""}${read.code}
@group(0) @binding(0) var<storage, read> a: array<${read.a.type(width)}>;
@group(0) @binding(1) var<storage, read> b: array<${read.b.type(width)}>;
@group(0) @binding(2) var<storage, read> bias: array<${element}>;
@group(0) @binding(3) var<storage, read> residual: array<${element}>;
@group(0) @binding(4) var<storage, read_write> out: array<${element}>;
${part.declarations}
struct Params { m: u32, n: u32, k: u32, add: u32, ${part.params} }
@group(0) @binding(${part.declarations ? 6 : 5}) var<uniform> p: Params;
var<workgroup> tileA: ${chunks};
var<workgroup> tileB: ${chunks};
${a.read}
${b.read}
${finish(product, element)}
${vector ? STORE_FOUR : STORE_ONE}
@compute @workgroup_size(${invocations}) fn main(@builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) lane: u32) {
  let loadsB = lane >= ${blocks}u;
  let block = lane % ${blocks}u;
  let x = lane % ${across}u;
  let y = lane / ${across}u;
  let row = workgroup.y * ${tile}u;
  let column = workgroup.x * ${tile}u;
  ${part.code}
  ${held.map(([i, h]) => `var c${i}${h} = vec4f();`).join(" ")}
  ${linesOf("v")} ${apart ? "" : linesOf("w")}
  ${vector ? `let inside = row + ${tile}u <= p.m && column + ${tile}u <= p.n;` : ""}
  var k = start;
  ${fetch}
  loop {
    ${both("put")}
    workgroupBarrier();
    k += ${depth}u;
    // While the blocks of the next steps are on their way, these are computed.
    if (k < end) { ${fetch} }
    ${multiply(tile, depth, float16Sums)}
    if (k >= end) { break; }
    workgroupBarrier();
  }
  ${
      held.map(([i, h]) =>
        `store(workgroup.z * p.m, row + y * 4u + ${i % 4 + (i >> 2) * tile / 2}u, ` +
        `column + x * 4u + ${h * tile / 2}u, c${i}${h});`
      ).join("\n  ")
    }
}`;
  });
}

/** WGSL of the variables for a block's four lines: `v0` to `v3`. */
function linesOf(name: string): string {
  return QUAD.map((i) => `var ${name}${i}: vec4f;`).join(" ");
}

/** What of a kernel its operands' way depends on. */
interface TileShape {
  readonly tile: Tile;
  readonly depth: number;
  readonly vector: boolean;
  readonly inTile: string;
}

/**
 * WGSL for an operand's way to workgroup memory, where step k has its tile of rows (A) or columns (B) in fours.
 * An invocation carries the 4 × 4 block number `block`: four `lines` of four, which run along k (`alongK`) or across it.
 * Neighbours read neighbouring addresses, and what lies outside is zero.
 */
function operand(
  name: "A" | "B",
  reader: Reader,
  alongK: boolean,
  { tile, depth, vector, inTile }: TileShape,
  lines: string,
  firstElement: string,
): { read: string; fetch: string; fetchInside: string; put: string } {
  const [first, extent] = name === "A" ? ["row", "p.m"] : ["column", "p.n"];
  const quads = tile / 4;
  const fast = alongK ? depth / 4 : quads;
  const q = alongK ? `(block % ${fast}u)` : `(block / ${fast}u)`;
  const g = alongK ? `(block / ${fast}u)` : `(block % ${fast}u)`;
  const v = (i: number) => `${lines}${i}`;
  const read = `fn read${name}(line: u32, lines: u32, at: u32, end: u32, stride: u32) -> vec4f {
  var v = vec4f();
  let i = ${firstElement} + line * stride + at;
  if (line < lines) {
    ${
    vector
      ? `if (at < end) { v = ${reader.read(4, "i / 4u")}; }`
      : XYZW.map((c, j) => `if (at + ${j}u < end) { v.${c} = ${reader.read(1, `i + ${j}u`)}; }`)
        .join(" ")
  }
  }
  return v;
}`;
  const fetch = QUAD.map((i) =>
    alongK
      ? `${v(i)} = read${name}(${first} + ${g} * 4u + ${i}u, ${extent}, k + ${q} * 4u, end, p.k);`
      : `${
        v(i)
      } = read${name}(k + ${q} * 4u + ${i}u, end, ${first} + ${g} * 4u, ${extent}, ${extent});`
  ).join(" ");
  const stride = `(${alongK ? "p.k" : extent} / 4u)`;
  const start = alongK
    ? `(${first} + ${g} * 4u) * ${stride} + k / 4u + ${q}`
    : `(k + ${q} * 4u) * ${stride} + ${first} / 4u + ${g}`;
  const fetchInside = `let at${name} = ${firstElement} / 4u + ${start}; ` +
    QUAD.map((i) => `${v(i)} = ${reader.read(4, `at${name} + ${i}u * ${stride}`)};`).join(" ");
  const put = QUAD.map((i) => {
    const line = alongK ? `vec4f(${QUAD.map((j) => `${v(j)}.${XYZW[i]}`).join(", ")})` : v(i);
    return `tile${name}[${q}][${i}][${g}] = ${inTile}(${line});`;
  }).join(" ");
  return { read, fetch, fetchInside, put };
}

/** WGSL that adds the products of the steps in workgroup memory to the sums held. */
function multiply(tile: Tile, depth: number, float16Sums: boolean): string {
  const [rows, columns] = HELD[tile];
  const parts = (name: "A" | "B", step: string, at: string, count: number): string =>
    range(count / 4).map((h) =>
      `let ${name.toLowerCase()}${h} = tile${name}${step}[${at} + ${h * tile / 8}u];`
    ).join(" ");
  const held = sumsOf(tile);
  const sum = float16Sums ? "h" : "c";
  const steps = range(depth).map((k) => {
    const step = `[${k >> 2}][${k % 4}]`;
    const sums = held.map(([i, h]) => `${sum}${i}${h} += a${i >> 2}.${XYZW[i % 4]} * b${h};`);
    return `{ ${parts("A", step, "y", rows)} ${parts("B", step, "x", columns)} ${sums.join(" ")} }`;
  }).join("\n    ");
  if (!float16Sums) return steps;
  const begin = held.map(([i, h]) => `var h${i}${h} = vec4<f16>();`).join(" ");
  return `${begin}\n    ${steps}\n    ${
    held.map(([i, h]) => `c${i}${h} += vec4f(h${i}${h});`).join(" ")
  }`;
}

const STORE_FOUR = `
fn store(above: u32, row: u32, column: u32, product: vec4f) {
  if (row < p.m && column < p.n) {
    finish(((above + row) * p.n + column) / 4u, column / 4u, product);
  }
}`;

const STORE_ONE = `
fn store(above: u32, row: u32, column: u32, product: vec4f) {
  for (var j = 0u; j < 4u; j++) {
    if (row < p.m && column + j < p.n) {
      finish((above + row) * p.n + column + j, column + j, product[j]);
    }
  }
}`;
