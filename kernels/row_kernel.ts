import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, range, reductions, rowLanes } from "./runtime/wgsl.ts";

/** A kernel that reduces each row of a matrix and then writes what comes of it. */
export interface RowKernel {
  /** Names the code, in errors and profiles too. */
  readonly name: string;
  /** Names and WGSL types of the elements that it reads, such as `x: T` with the type of `Vectors`, in the order of bindings. */
  readonly reads: readonly string[];
  /** Those of the elements that it writes, bound behind. */
  readonly writes: readonly string[];
  /** Names and WGSL types of its parameters. */
  readonly params?: readonly string[];
  /** The matrices of which the first pass reads the whole row: a graphics card keeps it in registers up to the last. */
  readonly held: readonly string[];
  /** Whether it takes numbers one by one, also where a row holds whole vectors. */
  readonly scalar?: boolean;
  /**
   * Its WGSL: what comes of a row, and what is written then.
   *
   * There `row` is the row's number, `start` its first vector, `p.width` how many it has, `n` how many numbers these are, and
   * `lane` the invocation among those that share the row.
   *
   * @param each Makes a loop over the row's vectors, `i` in the row and `at` in the matrix.
   * @param size Numbers of a vector.
   */
  readonly code: (each: (body: string) => string, size: Vectors["size"]) => {
    readonly reduce: string;
    readonly write: string;
  };
}

/** How the rows of a matrix are dealt out to invocations. */
interface Deal {
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Rows of a workgroup. */
  readonly rows: number;
  /** Vectors of a row that each of them keeps in registers from the first pass to the last; 0 where it reads them anew. */
  readonly held: number;
}

/** Numbers that an invocation may keep: a graphics card hides the wait for memory by other invocations, which need registers too. */
const MOST_HELD = 48;

/** On a graphics card as few invocations share a row as can hold it, so that each has several loads under way and sums are short. */
function dealOf({ gpu, width }: Tensor, size: number, names: number): Deal {
  if (gpu.info.software) return { lanes: rowLanes(gpu.info), rows: 1, held: 0 };
  for (const lanes of [32, 128, 256]) {
    const held = Math.ceil(width / size / lanes);
    if (held * size * names <= MOST_HELD) return { lanes, rows: lanes === 32 ? 4 : 1, held };
  }
  return { lanes: 256, rows: 1, held: 0 };
}

/** What the loop over a row becomes where its vectors are held: `x[at]` is `x2` in the third pass of the loop. */
function heldLoop(body: string, names: readonly string[], { lanes, held }: Deal): string {
  return range(held).map((k) => {
    const own = body.replaceAll(
      /\b(\w+)\[at\](?! [-+*\/]?= )/g,
      (read, name) => names.includes(name) ? `${name}${k}` : read,
    );
    const guard = k === held - 1 ? "if (i < p.width) " : "";
    return `{ let i = lane + ${k * lanes}u; let at = start + i; ${guard}{ ${own} } }`;
  }).join("\n");
}

/** Loads the vectors that are held; those beyond the row's end are never used. */
function loads(names: readonly string[], { lanes, held }: Deal): string {
  return range(held).flatMap((k) =>
    names.map((name) =>
      `let ${name}${k} = ${name}[start + min(lane + ${k * lanes}u, p.width - 1u)];`
    )
  ).join("\n");
}

/**
 * Runs a kernel over the rows of a matrix.
 *
 * @param kernel What is done with a row.
 * @param x The matrix [..., width].
 * @param tensors What it reads and writes, in order.
 * @param params Its parameters.
 */
export function runRows(
  kernel: RowKernel,
  x: Tensor,
  tensors: readonly Tensor[],
  params: readonly number[] = [],
): void {
  const { gpu, rows, width } = x;
  const v = vectors(kernel.scalar ? 1 : width);
  const names = kernel.held;
  const deal = dealOf(x, v.size, names.length);
  const { lanes, held } = deal;
  const compiled = gpu.kernel(`${kernel.name}/${v.size}${held ? `/${lanes}x${held}` : ""}`, () => {
    const each = (body: string) =>
      held
        ? heldLoop(body, names, deal)
        : `for (var i = lane; i < p.width; i += ${lanes}u) { let at = start + i; ${body} }`;
    const { reduce, write } = kernel.code(each, v.size);
    const bindings = [
      ...kernel.reads.map((element) => ["read", element] as const),
      ...kernel.writes.map((element) => ["read_write", element] as const),
    ];
    const declared = bindings.map(([access, element], i) =>
      `@group(0) @binding(${i}) var<storage, ${access}> ${
        element.replace(/: (.*)/, ": array<$1>;")
      }`
    );
    const fields = ["rows: u32", "width: u32", ...kernel.params ?? []];
    const body = `let row = min(own, p.rows - 1u);
  let start = row * p.width;
  let n = f32(p.width * ${v.size}u);
  ${loads(names, deal)}
  ${reduce}
  if (own < p.rows) {
    ${write}
  }`;
    return `${v.code}
${declared.join("\n")}
struct Params { ${fields} }
@group(0) @binding(${declared.length}) var<uniform> p: Params;
${reductions(gpu, lanes * deal.rows, lanes)}
${entry(gpu, lanes * deal.rows, ownRow(deal, body))}`;
  });
  gpu.run(compiled, tensors, [rows, width / v.size, ...params], Math.ceil(rows / deal.rows));
}

/** Code for one row in a workgroup of one or several, whose number is `own`. */
function ownRow({ lanes, rows }: Deal, body: string): string {
  if (rows === 1) return `let own = group;\n  ${body}`;
  return `line = lane / ${lanes}u;
  let own = group * ${rows}u + line;
  {
  let lane = lane % ${lanes}u;
  ${body}
  }`;
}
