import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, reductions, rowLanes } from "./runtime/wgsl.ts";

/** A kernel whose workgroups each reduce a row of a matrix and then write what comes of it. */
export interface RowKernel {
  /** Names the code, in errors and profiles too. */
  readonly name: string;
  /** Names and WGSL types of the elements that it reads, such as `x: T` with the type of `Vectors`, in the order of bindings. */
  readonly reads: readonly string[];
  /** Those of the elements that it writes, bound behind. */
  readonly writes: readonly string[];
  /** Names and WGSL types of its parameters. */
  readonly params?: readonly string[];
  /** Whether it takes numbers one by one, also where a row holds whole vectors. */
  readonly scalar?: boolean;
  /**
   * Its WGSL: what comes of a row, and what is written then.
   *
   * There `row` is the row's number, `start` its first vector, `p.width` how many it has, `n` how many numbers these are, and
   * `lane` the invocation of its workgroup.
   *
   * @param each Makes a loop over the row's vectors, `i` in the row and `at` in the matrix.
   * @param size Numbers of a vector.
   */
  readonly code: (each: (body: string) => string, size: Vectors["size"]) => {
    readonly reduce: string;
    readonly write: string;
  };
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
  { gpu, rows, width }: Tensor,
  tensors: readonly Tensor[],
  params: readonly number[] = [],
): void {
  const v = vectors(kernel.scalar ? 1 : width);
  const compiled = gpu.kernel(`${kernel.name}/${v.size}`, () => {
    const lanes = rowLanes(gpu.info);
    const each = (body: string) =>
      `for (var i = lane; i < p.width; i += ${lanes}u) { let at = start + i; ${body} }`;
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
    const body = `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  let n = f32(p.width * ${v.size}u);
  ${reduce}
  if (group < p.rows) {
    ${write}
  }`;
    return `${v.code}
${declared.join("\n")}
struct Params { ${fields} }
@group(0) @binding(${declared.length}) var<uniform> p: Params;
${reductions(gpu, lanes)}
${entry(gpu, lanes, body)}`;
  });
  gpu.run(compiled, tensors, [rows, width / v.size, ...params], rows);
}
