import { f32, type Kernel } from "../runtime/kernel.ts";
import { HALF, isHalf } from "../runtime/precision.ts";
import { entry } from "../runtime/wgsl.ts";
import { imageFormat, LANES } from "./image.ts";
import { ADD, addends, additions, type Operands, operandsOf, type Product } from "./problem.ts";

/** Lanes of a workgroup; each has a row of the weight. */
const SIZE = 64;
/** Rows of the left operand in a dispatch at most. */
const MOST_ROWS = 8;
/** Quads of k whose texels are loaded before they are multiplied, where there are several rows. */
const CHUNK = 8;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/**
 * A product of few rows with a weight of which there is an image, on a processor that poses as a GPU.
 *
 * Each lane has a column of the result and reads its row of the weight from the image. The left operand lies in
 * workgroup memory, where an index that is known to the compiler costs nothing, so k is unrolled as text. What the left
 * operand is made from, see `ProductOptions.from`, is computed on the way there.
 */
export function imageProduct(product: Product): void {
  const { a, out, b, m, n, from } = product;
  const { gpu } = out;
  const bindings = [b.image!, a, ...addends(product), out];
  const params: number[] = [];
  if (from && from !== "swiglu") {
    bindings.push(from.gain);
    params.push(f32(from.eps));
  }
  for (let row = 0; row < m; row += MOST_ROWS) {
    const rows = Math.min(MOST_ROWS, m - row);
    const kernel = imageKernel(product, 2 ** Math.ceil(Math.log2(rows)), operandsOf(product));
    gpu.run(kernel, bindings, [row, m, n, additions(product), ...params], Math.ceil(n / SIZE));
  }
}

function imageKernel({ b, k, from, out: { gpu } }: Product, m: number, read: Operands): Kernel {
  const norm = from && from !== "swiglu";
  const { texel } = imageFormat(b.dtype);
  const key = `matmul_image/${m}/${k}/${b.dtype}/${from ? norm ? "norm" : from : "plain"}`;
  return gpu.kernel(`${key}${read.key}`, () =>
    `${HALF[read.precision]}
@group(0) @binding(0) var image: texture_storage_2d<${texel}, read>;
@group(0) @binding(1) var<storage, read> a: array<${read.a.type(4)}>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
${norm ? "@group(0) @binding(5) var<storage, read> gain: array<vec4f>;" : ""}
struct Params { row: u32, m: u32, n: u32, add: u32${norm ? ", eps: f32" : ""} }
@group(0) @binding(${norm ? 6 : 5}) var<uniform> p: Params;
var<workgroup> x: array<vec4f, ${m * k / 4}>;
${norm ? `var<workgroup> squares: array<f32, ${m * SIZE / LANES}>;` : ""}
fn bytes(word: u32) -> vec4f {
  return vec4f(vec4i(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}
fn store(i: u32, column: u32, product: f32) {
  var sum = product;
  if ((p.add & ${ADD.out}u) != 0u) { sum += out[i]; }
  if ((p.add & ${ADD.bias}u) != 0u) { sum += bias[column]; }
  if ((p.add & ${ADD.residual}u) != 0u) { sum += residual[i]; }
  out[i] = sum;
}
${
      entry(
        gpu,
        SIZE,
        `${norm ? scales(m, k) : ""}
  ${range(m).map((j) => fill(j, k, norm ? "norm" : from, read)).join("\n  ")}
  workgroupBarrier();
  let block = group * ${SIZE / LANES}u + sg;
  ${range(m).map((j) => `var c${j} = 0.0;`).join(" ")}
  ${chunks(b.dtype, m, k).join("\n  ")}
  let column = group * ${SIZE}u + lane;
  if (column < p.n) {
    ${
          range(m).map((j) =>
            `if (p.row + ${j}u < p.m) { store((p.row + ${j}u) * p.n + column, column, c${j}); }`
          ).join("\n    ")
        }
  }`,
      )
    }`);
}

/** r0, r1, …: what each row is divided by in an RMSNorm. */
function scales(m: number, k: number): string {
  const each = (j: number) =>
    `{
    let first = min(p.row + ${j}u, p.m - 1u) * ${k / 4}u;
    var sum = 0.0;
    for (var i = lane; i < ${k / 4}u; i += ${SIZE}u) { let v = a[first + i]; sum += dot(v, v); }
    let whole = subgroupAdd(sum);
    if (sgi == 0u) { squares[${j * SIZE / LANES}u + sg] = whole; }
  }`;
  const sum = (j: number) => range(SIZE / LANES).map((s) => `squares[${j * SIZE / LANES + s}]`);
  return `${range(m).map(each).join("\n  ")}
  workgroupBarrier();
  ${
    range(m).map((j) => `let r${j} = inverseSqrt((${sum(j).join(" + ")}) / ${k}.0 + p.eps);`).join(
      "\n  ",
    )
  }`;
}

/** Puts a row of the left operand into workgroup memory; rows beyond the last are copies of it. */
function fill(
  j: number,
  k: number,
  from: "norm" | Product["from"],
  { a, precision }: Operands,
): string {
  const quads = k / 4;
  const rounded = (v: string) => isHalf(precision) ? `round4_${precision}(${v})` : v;
  const value = from === "norm"
    ? rounded(`gain[i] * (a[first + i] * r${j})`)
    : from
    ? rounded(`g / (1.0 + exp(min(-g, vec4f(80.0)))) * a[first + ${quads}u + i]`)
    : a.read(4, "first + i");
  return `{ let first = min(p.row + ${j}u, p.m - 1u) * ${from === "swiglu" ? 2 * quads : quads}u;
    for (var i = lane; i < ${quads}u; i += ${SIZE}u) {
      ${from === "swiglu" ? "let g = a[first + i];" : ""}
      x[${j * quads}u + i] = ${value};
    } }`;
}

/** Steps of k: texels, the four numbers of each quad `v…` from them, and their products with all rows. */
function chunks(dtype: Product["b"]["dtype"], m: number, k: number): string[] {
  const quads = k / 4, each = imageFormat(dtype).numbers / 4;
  const load = (t: number) => `textureLoad(image, vec2u(${t * LANES}u + sgi, block))`;
  const place = (t: number) => dtype === "q8" ? t + Math.floor(t / 8) + 1 : t;
  const scale = (q: number) => `s${Math.floor(q / 32)}.${"xyzw"[Math.floor(q / 8) % 4]}`;
  const values = (q: number): string => {
    const word = (i: number) => `t${Math.floor(q / each)}.${"xyzw"[i]}`;
    if (dtype === "q8") return `bytes(${word(q % 4)}) * ${scale(q)}`;
    if (!isHalf(dtype)) return `t${q}`;
    return `unpack4_${dtype}(vec2u(${word(q % 2 * 2)}, ${word(q % 2 * 2 + 1)}))`;
  };
  const step = m === 1 ? each : Math.max(CHUNK, each);
  return range(Math.ceil(quads / step)).map((chunk) => {
    const own = range(Math.min(step, quads - chunk * step)).map((i) => chunk * step + i);
    const texels = [...new Set(own.map((q) => Math.floor(q / each)))];
    const scales = dtype === "q8" && own[0]! % 32 === 0
      ? `let s${own[0]! / 32} = bitcast<vec4f>(${load(9 * own[0]! / 32)});`
      : "";
    const products = own.map((q) =>
      m === 1
        ? `c0 += dot(v${q}, x[${q}]);`
        : `{ ${range(m).map((j) => `let x${j} = x[${j * quads + q}];`).join(" ")} ${
          [..."xyzw"].map((c) => range(m).map((j) => `c${j} += x${j}.${c} * v${q}.${c};`).join(" "))
            .join("\n    ")
        } }`
    );
    return `${scales} {
    ${texels.map((t) => `let t${t} = ${load(place(t))};`).join(" ")}
    ${own.map((q) => `let v${q} = ${values(q)};`).join(" ")}
    ${products.join("\n    ")}
  }`;
  });
}
