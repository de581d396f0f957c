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

/**
 * Steps whose blocks workgroup memory holds: with two, one is filled while the other is multiplied, which takes twice
 * the memory and half the barriers.
 */
export type Buffers = 1 | 2;

/** How a product is computed by tiles. */
export interface Tiling {
  /** Width of the tiles of C that a workgroup computes. */
  readonly tile: Tile;
  /** Parts into which k is cut, computed side by side and then summed in order, for few tiles and a long k; 1 unless given. */
  readonly slices?: number;
  /** Steps that workgroup memory holds; 1 unless given. */
  readonly buffers?: Buffers;
  /**
   * Whether operands in float16 are multiplied and summed in it too, 16 products at a time, whose sums are added in
   * float32. Where two float16 fit a register that is half as many instructions. For numbers near 1 the error of a
   * product doubles, to a quarter of what rounding its operands to bfloat16 makes; sums of 16 beyond 65504 are infinite
   * and products below 6e-5 lose digits. So it is for layers (`NT`) alone, not for gradients under a loss scale.
   */
  readonly float16Sums?: boolean;
}

/** Steps of k between two barriers. */
const DEPTH = 16;

/** The same in fours. */
const CHUNKS = DEPTH / 4;

/** Rows and columns of C that an invocation holds. With them each invocation loads one 4 × 4 block of A or B a step. */
const HELD: Readonly<Record<Tile, readonly [number, number]>> = {
  32: [4, 4],
  64: [8, 4],
  128: [8, 8],
};

/** Whether a device has the workgroup memory for a kernel, and the kernel takes a kind of products. */
export function tileTakes(
  { device }: Gpu,
  { tile, buffers = 1, float16Sums = false }: Tiling,
  { layout, precision }: Pick<Product, "layout" | "precision">,
): boolean {
  if (float16Sums && (precision !== "float16" || layout !== "NT")) return false;
  const bytes = 2 * buffers * DEPTH * tile * (precision === "float16" ? 2 : 4);
  return bytes <= device.limits.maxComputeWorkgroupStorageSize;
}

/**
 * A product by tiles that pass through workgroup memory into registers, the usual way on a GPU (see Boehm, "How to
 * Optimize a CUDA Matmul Kernel", 2022). Takes any extents; those that are multiples of 4 are read four at a time.
 */
export function tiledProduct(product: Product, tiling: Tiling): void {
  const { tile, slices = 1 } = tiling;
  const { layout, a, b, out, m, n, k } = product;
  const { gpu } = out;
  const vector = [layout === "TN" ? m : k, layout === "NT" ? k : n, n].every((x) => x % 4 === 0);
  const slice = Math.ceil(k / slices / DEPTH) * DEPTH;
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
  { tile, buffers = 1, float16Sums = false }: Tiling,
  vector: boolean,
  part: TiledPart = SLICES,
): Kernel {
  const { layout, a: { gpu }, precision } = product;
  // In float16 the tiles are that too, and numbers are rounded on their way there.
  const isFloat16 = precision === "float16";
  const inTile = isFloat16 ? "vec4<f16>" : "vec4f";
  const read = operandsOf(product, !isFloat16);
  const width = vector ? 4 : 1;
  const double = buffers === 2;
  const key = `matmul_tiled/${part.name}/${layout}/${tile}${double ? "x2" : ""}${
    float16Sums ? "/float16_sums" : ""
  }/${width}${read.key}${endOfKey(product)}`;
  return gpu.kernel(key, () => {
    const [rows, columns] = HELD[tile];
    const held = range(rows).flatMap((i) => range(columns / 4).map((h) => [i, h] as const));
    const across = tile / columns;
    const half = tile / rows * across / 2;
    const element = vector ? "vec4f" : "f32";
    // An index that is invariant or constant costs nothing: [chunk of four steps][step of it][four rows or columns].
    const chunks = `array<array<array<${inTile}, ${tile / 4}>, 4>, ${buffers * CHUNKS}>`;
    const a = operand("A", read.a, layout !== "TN", tile, vector, inTile, "0u");
    const b = operand("B", read.b, layout === "NT", tile, vector, inTile, part.firstB);
    return `${isFloat16 ? "enable f16;" : ""}${read.code}
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
@compute @workgroup_size(${2 * half}) fn main(@builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) lane: u32) {
  let loadsB = lane >= ${half}u;
  let block = lane % ${half}u;
  let x = lane % ${across}u;
  let y = lane / ${across}u;
  let row = workgroup.y * ${tile}u;
  let column = workgroup.x * ${tile}u;
  ${part.code}
  ${held.map(([i, h]) => `var c${i}${h} = vec4f();`).join(" ")}
  var v0: vec4f; var v1: vec4f; var v2: vec4f; var v3: vec4f;
  var filled = 0u;
  ${vector ? `let inside = row + ${tile}u <= p.m && column + ${tile}u <= p.n;` : ""}
  // While the blocks of one step are on their way, the step before it is computed.
  for (var k = start; k < end + ${DEPTH}u; k += ${DEPTH}u) {
    ${
      vector
        ? `if (inside && k + ${DEPTH}u <= end) {
      if (loadsB) { ${b.fetchInside} } else { ${a.fetchInside} }
    } else`
        : ""
    } if (loadsB) { ${b.fetch} } else { ${a.fetch} }
    if (k > start) {
      ${float16Sums ? held.map(([i, h]) => `var h${i}${h} = vec4<f16>();`).join(" ") : ""}
      for (var chunk = filled; chunk < filled + ${CHUNKS}u; chunk++) {
        ${QUAD.map((i) => multiplyStep(i, rows, columns, tile, float16Sums)).join("\n        ")}
      }
      ${float16Sums ? held.map(([i, h]) => `c${i}${h} += vec4f(h${i}${h});`).join(" ") : ""}
    }
    ${double ? `filled = ${CHUNKS}u - filled;` : "workgroupBarrier();"}
    if (loadsB) { ${b.put} } else { ${a.put} }
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

/**
 * WGSL for an operand's way to workgroup memory, where step k has its tile of rows (A) or columns (B) in fours.
 * An invocation carries the 4 × 4 block number `block`: four lines of four, which run along k (`alongK`) or across it.
 * Neighbours read neighbouring addresses, and what lies outside is zero.
 */
function operand(
  name: "A" | "B",
  reader: Reader,
  alongK: boolean,
  tile: Tile,
  vector: boolean,
  inTile: string,
  firstElement: string,
): { read: string; fetch: string; fetchInside: string; put: string } {
  const [first, extent] = name === "A" ? ["row", "p.m"] : ["column", "p.n"];
  const quads = tile / 4;
  const fast = alongK ? DEPTH / 4 : quads;
  const q = alongK ? `(block % ${fast}u)` : `(block / ${fast}u)`;
  const g = alongK ? `(block / ${fast}u)` : `(block % ${fast}u)`;
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
      ? `v${i} = read${name}(${first} + ${g} * 4u + ${i}u, ${extent}, k + ${q} * 4u, end, p.k);`
      : `v${i} = read${name}(k + ${q} * 4u + ${i}u, end, ${first} + ${g} * 4u, ${extent}, ${extent});`
  ).join(" ");
  const stride = `(${alongK ? "p.k" : extent} / 4u)`;
  const start = alongK
    ? `(${first} + ${g} * 4u) * ${stride} + k / 4u + ${q}`
    : `(k + ${q} * 4u) * ${stride} + ${first} / 4u + ${g}`;
  const fetchInside = `let at = ${firstElement} / 4u + ${start}; ` +
    QUAD.map((i) => `v${i} = ${reader.read(4, `at + ${i}u * ${stride}`)};`).join(" ");
  const put = QUAD.map((i) =>
    `tile${name}[filled + ${q}][${i}][${g}] = ` +
    `${inTile}(${alongK ? `vec4f(${QUAD.map((j) => `v${j}.${XYZW[i]}`).join(", ")})` : `v${i}`});`
  ).join(" ");
  return { read, fetch, fetchInside, put };
}

/** WGSL that adds the outer product of one step of a chunk to the sums held, `c`, or `h` in float16. */
function multiplyStep(
  step: number,
  rows: number,
  columns: number,
  tile: Tile,
  float16Sums: boolean,
): string {
  const halves = (name: "A" | "B", at: string, count: number): string =>
    range(count / 4).map((h) =>
      `let ${name.toLowerCase()}${h} = ${
        float16Sums ? "" : "vec4f"
      }(tile${name}[chunk][${step}][${at} + ${h * tile / 8}u]);`
    ).join(" ");
  const sum = float16Sums ? "h" : "c";
  const sums = range(rows).map((i) =>
    range(columns / 4).map((h) => `${sum}${i}${h} += a${i >> 2}.${XYZW[i % 4]} * b${h};`).join(" ")
  );
  return `{ ${halves("A", "y", rows)} ${halves("B", "x", columns)} ${sums.join(" ")} }`;
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
