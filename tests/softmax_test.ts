import { softmax } from "../kernels/softmax.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { everyPathTest } from "./support/paths.ts";

function reference(x: Float64Array, width: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    const row = x.subarray(start, start + width);
    const top = row.reduce((a, b) => Math.max(a, b));
    const sum = row.reduce((a, b) => a + Math.exp(b - top), 0);
    row.forEach((v, i) => y[start + i] = Math.exp(v - top) / sum);
  }
  return y;
}

for (const [rows, width] of [[3, 1], [65, 3], [17, 63], [9, 20], [1, 257]] as const) {
  everyPathTest(
    `softmax equals its float64 reference at [${rows}, ${width}]`,
    (gpu) =>
      checkOperation(gpu, {
        name: `softmax ${rows}x${width}`,
        op: (x) => softmax(x!),
        reference: (x) => reference(x!, width),
        shapes: [[rows, width]],
        draw: (random) => 20 * random.float(), // far from zero, where exp alone would lose digits
      }),
  );
}
