import type { Tensor } from "./runtime/tensor.ts";
import { entry, setOrAdd } from "./runtime/wgsl.ts";

const SIZE = 64;
const BLOCK = 64;

/**
 * Sums an expression over the rows of a matrix, column by column: the gradients of biases and norm weights.
 * The order of summation is fixed, so the result is the same every time.
 *
 * @param name Names the expression in the kernel.
 * @param expression WGSL over `i` (the element), `row`, and the inputs `t0`, `t1`, … of float32.
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
  const blocks = Math.ceil(rows / BLOCK);
  const columns = Math.ceil(width / SIZE);
  const direct = blocks === 1;
  const partial = direct ? out : gpu.empty([blocks, width], "float32", "partial sums");
  const kernel = gpu.kernel(`${name}_columns`, () => {
    const n = inputs.length;
    const body = `let column = workgroup.x * ${SIZE}u + lane;
  if (column < p.width) {
    var sum = 0.0;
    let end = min((workgroup.y + 1u) * p.block, p.rows);
    for (var row = workgroup.y * p.block; row < end; row++) {
      let i = row * p.width + column;
      sum += ${expression};
    }
    let o = workgroup.y * p.width + column;
    ${setOrAdd("out[o]", "sum")}
  }`;
    return `
${inputs.map((_, i) => `@group(0) @binding(${i}) var<storage, read> t${i}: array<f32>;`).join("\n")}
@group(0) @binding(${n}) var<storage, read_write> out: array<f32>;
struct Params { rows: u32, width: u32, block: u32, accumulate: u32 }
@group(0) @binding(${n + 1}) var<uniform> p: Params;
${entry(gpu, SIZE, body)}`;
  });
  const add = accumulate && direct ? 1 : 0;
  gpu.run(kernel, [...inputs, partial], [rows, width, BLOCK, add], [columns, blocks]);
  if (!direct) columnSums("sum", "t0[i]", [partial], out, accumulate);
}
