import { f32, type Kernel } from "../runtime/kernel.ts";
import { HALF, isHalf } from "../runtime/precision.ts";
import { entry, range } from "../runtime/wgsl.ts";
import { imageFormat, LANES, quad, QUADS } from "./image.ts";
import {
  addends,
  additions,
  endOfKey,
  finish,
  type Operands,
  operandsOf,
  type Product,
  type ProductPart,
} from "./problem.ts";

/** Lanes of a workgroup; each has a row of the weight. */
const SIZE = 64;

const WHOLE: ProductPart = {
  name: "",
  declarations: "",
  params: "",
  code: "let strip = group; let row = 0u; let before = 0u;",
};

/** Workgroups for so many columns. */
export function rowCount(n: number): number {
  return Math.ceil(n / SIZE);
}

/**
 * The product of one row with a weight of which there is an image; see `imageProduct`.
 *
 * Each lane has a column of the result and reads its row of the weight from the image. The left operand lies in
 * workgroup memory, where an index that is known to the compiler costs nothing, so k is unrolled as text. What the left
 * operand is made from, see `ProductOptions.from`, is computed on the way there.
 */
export function imageRowProduct(product: Product): void {
  const { a, out, b, n, from } = product;
  const bindings = [b.image!, a, ...addends(product), out];
  const params: number[] = [];
  if (from && from !== "swiglu") {
    bindings.push(from.gain);
    params.push(f32(from.eps));
  }
  out.gpu.run(rowKernel(product), bindings, [n, additions(product), ...params], rowCount(n));
}

/**
 * The kernel of `imageRowProduct`. It binds the image, A, bias, residual, C, and what `part` declares or a norm's gain. The
 * code of `part` sets `strip`, which of the columns, `row`, which row of A and C, and `before`, the rows of the image before these.
 */
export function rowKernel(
  product: Pick<Product, "a" | "b" | "k" | "out" | "precision" | "from" | "activation">,
  part = WHOLE,
): Kernel {
  const { b, k, out: { gpu } } = product;
  const read = operandsOf(product);
  const source = sourceOf(product), norm = source === "norm";
  const { texel } = imageFormat(b.dtype);
  const key = `matmul_image/1/${part.name}${k}/${b.dtype}/${source}`;
  return gpu.kernel(`${key}${read.key}${endOfKey(product)}`, () =>
    `${HALF[read.precision]}
@group(0) @binding(0) var image: texture_storage_2d<${texel}, read>;
@group(0) @binding(1) var<storage, read> a: array<${read.a.type(4)}>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
${norm ? "@group(0) @binding(5) var<storage, read> gain: array<vec4f>;" : part.declarations}
struct Params { n: u32, add: u32${norm ? ", eps: f32" : part.params} }
@group(0) @binding(${norm || part.declarations ? 6 : 5}) var<uniform> p: Params;
var<workgroup> x: array<vec4f, ${k / 4}>;
${norm ? `var<workgroup> squares: array<f32, ${SIZE / LANES}>;` : ""}
${QUADS}${finish(product, "f32")}${SWIGLU}
${
      entry(
        gpu,
        SIZE,
        `${part.code}
  let first = row * ${source === "swiglu" ? k / 2 : k / 4}u;
  ${norm ? scale(k) : ""}
  for (var i = lane; i < ${k / 4}u; i += ${SIZE}u) {
    x[i] = ${made(source, read, ["first", "i", `${k / 4}u`])};
  }
  workgroupBarrier();
  let block = before / ${LANES}u + strip * ${SIZE / LANES}u + sg;
  var c = 0.0;
  ${chunks(b.dtype, k).join("\n  ")}
  let column = strip * ${SIZE}u + lane;
  if (column < p.n) { finish(row * p.n + column, column, c); }`,
      )
    }`);
}

/** By what the row is multiplied in an RMSNorm. */
function scale(k: number): string {
  return `var sum = 0.0;
  for (var i = lane; i < ${k / 4}u; i += ${SIZE}u) { let v = a[first + i]; sum += dot(v, v); }
  let whole = subgroupAdd(sum);
  if (sgi == 0u) { squares[sg] = whole; }
  workgroupBarrier();
  let scale = inverseSqrt((${
    range(SIZE / LANES).map((s) => `squares[${s}]`).join(" + ")
  }) / ${k}.0 + p.eps);`;
}

/** What a left operand is made from, see `ProductOptions.from`. */
export type Source = "norm" | "swiglu" | "plain";

/** That of a product. */
export function sourceOf({ from }: Pick<Product, "from">): Source {
  return from && from !== "swiglu" ? "norm" : from ?? "plain";
}

/** WGSL of quad `i` of a left operand's row, which begins at `first` and has so many quads; a norm needs `scale`. */
export function made(
  source: Source,
  { a, precision }: Operands,
  [first, i, quads]: readonly [string, string, string],
): string {
  const rounded = (v: string) => isHalf(precision) ? `round4_${precision}(${v})` : v;
  switch (source) {
    case "norm":
      return rounded(`gain[${i}] * (a[${first} + ${i}] * scale)`);
    case "swiglu":
      return rounded(`swiglu(a[${first} + ${i}], a[${first} + ${quads} + ${i}])`);
    case "plain":
      return a.read(4, `${first} + ${i}`);
  }
}

/** WGSL function for `made`. */
export const SWIGLU = `
fn swiglu(gate: vec4f, up: vec4f) -> vec4f { return gate / (1.0 + exp(min(-gate, vec4f(80.0)))) * up; }
`;

/** Steps of k: texels, the four numbers of each quad `v…` from them, and their products. */
function chunks(dtype: Product["b"]["dtype"], k: number): string[] {
  const quads = k / 4, each = imageFormat(dtype).numbers / 4;
  const load = (t: number) => `textureLoad(image, vec2u(${t * LANES}u + sgi, block))`;
  const place = (t: number) => dtype === "q8" ? t + Math.floor(t / 8) + 1 : t;
  const factor = (t: number) =>
    dtype === "q8" ? `s${Math.floor(t / 8)}.${"xyzw"[Math.floor(t / 2) % 4]} * ` : "";
  return range(Math.ceil(quads / each)).map((t) => {
    const own = range(Math.min(each, quads - t * each)).map((i) => t * each + i);
    const scales = dtype === "q8" && t % 8 === 0
      ? `let s${t / 8} = bitcast<vec4f>(${load(9 * t / 8)});`
      : "";
    return `${scales} {
    let t = ${load(place(t))};
    c += ${factor(t)}(${own.map((q, i) => `dot(${quad(dtype, "t", i)}, x[${q}])`).join(" + ")});
  }`;
  });
}
