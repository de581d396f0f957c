import { roundUp } from "./runtime/kernel.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, range, setOrAdd } from "./runtime/wgsl.ts";

/** How a matrix is divided among workgroups. */
interface Division {
  /** Columns of vectors that a workgroup sums. */
  readonly columns: number;
  /** Rows that it has in hand at a time, each with invocations of its own. */
  readonly lines: number;
  /** Rows whose terms an invocation has under way at a time. */
  readonly ahead: number;
  /** Rows that it sums. */
  readonly block: number;
  /** Numbers of a vector. */
  readonly v: Vectors;
}

/** On a graphics card into at most 128 blocks of rows, which a second kernel adds up. */
function divisionOf({ info }: Gpu, rows: number, width: number): Division {
  return info.software ? { columns: 64, lines: 1, ahead: 1, block: 64, v: vectors(1) } : {
    columns: 32,
    lines: 8,
    ahead: 4,
    block: roundUp(Math.ceil(rows / 128), 128),
    v: vectors(width),
  };
}

/**
 * Sums an expression over the rows of a matrix, column by column: the gradients of biases and norm weights.
 * The order of summation is fixed, so the result is the same every time.
 *
 * @param name Names the expression in the kernel.
 * @param expression WGSL over `i` (the vector of elements), `row`, and the inputs `t0`, `t1`, … of float32, which hold
 *   vectors where they are read at `[i]`.
 * @param inputs The first is the matrix [rows, width].
 * @param out Where the sums [width] go.
 * @param accumulate Whether to add to what `out` holds.
 */
export function columnSums(
  name: string,
  expression: string,
  inputs: readonly Tensor[],
  out: Tensor,
  accumulate: boolean,
): void {
  const { gpu, rows, width } = inputs[0]!;
  const division = divisionOf(gpu, rows, width);
  const { columns, block, v } = division;
  const blocks = Math.ceil(rows / block);
  const direct = blocks === 1;
  const partial = direct ? out : gpu.empty([blocks, width], "float32", "partial sums");
  const kernel = gpu.kernel(
    `${name}_columns/${v.size}`,
    () => code(gpu, expression, inputs.length, division),
  );
  const params = [rows, width / v.size, block, Number(accumulate && direct)];
  const across = Math.ceil(width / v.size / columns);
  gpu.run(kernel, [...inputs, partial], params, [across, blocks]);
  if (!direct) columnSums("sum", "t0[i]", [partial], out, accumulate);
}

function code(gpu: Gpu, expression: string, inputs: number, division: Division): string {
  const { columns, lines, ahead, v } = division;
  const declared = range(inputs).map((k) =>
    `@group(0) @binding(${k}) var<storage, read> t${k}: array<${
      expression.includes(`t${k}[i]`) ? "T" : "f32"
    }>;`
  );
  const terms = range(ahead).map((k) => `term(row + ${k * lines}u, column)`);
  const body = `let column = workgroup.x * ${columns}u + lane % ${columns}u;
  let line = lane / ${columns}u;
  let end = min((workgroup.y + 1u) * p.block, p.rows);
  var sum = T(0.0);
  if (column < p.width) {
    var row = workgroup.y * p.block + line;
    ${
    ahead > 1
      ? `for (; row + ${(ahead - 1) * lines}u < end; row += ${ahead * lines}u) {
      sum += ${terms.join(" + ")};
    }`
      : ""
  }
    for (; row < end; row += ${lines}u) { sum += term(row, column); }
  }
  ${
    lines > 1
      ? `sums[lane] = sum;
  workgroupBarrier();
  for (var k = ${columns}u; k < ${
        columns * lines
      }u && line == 0u; k += ${columns}u) { sum += sums[lane + k]; }`
      : ""
  }
  if (column < p.width && line == 0u) {
    let o = workgroup.y * p.width + column;
    ${setOrAdd("out[o]", "sum")}
  }`;
  return `${v.code}
${declared.join("\n")}
@group(0) @binding(${inputs}) var<storage, read_write> out: array<T>;
struct Params { rows: u32, width: u32, block: u32, accumulate: u32 }
@group(0) @binding(${inputs + 1}) var<uniform> p: Params;
${lines > 1 ? `var<workgroup> sums: array<T, ${columns * lines}>;` : ""}
fn term(row: u32, column: u32) -> T {
  let i = row * p.width + column;
  return ${expression};
}
${entry(gpu, columns * lines, body)}`;
}
