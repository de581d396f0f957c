import { assertThrows } from "@std/assert";
import { contrastiveLoss } from "../kernels/contrastive.ts";
import { normalizeRows } from "../kernels/normalize_rows.ts";
import { concatRows } from "../kernels/rows.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { everyPathTest } from "./support/paths.ts";

function normalized(x: Float64Array, width: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    const norm = Math.hypot(...x.subarray(at, at + width));
    for (let i = at; i < at + width; i++) y[i] = x[i]! / norm;
  }
  return y;
}

for (const [rows, width] of [[1, 3], [3, 17], [65, 64], [257, 5], [7, 512]] as const) {
  everyPathTest(
    `normalizeRows equals its float64 reference at [${rows}, ${width}]`,
    (gpu) =>
      checkOperation(gpu, {
        name: `normalizeRows ${rows}x${width}`,
        op: (x) => normalizeRows(x!),
        reference: (x) => normalized(x!, width),
        shapes: [[rows, width]],
      }),
  );
}

gpuTest("normalizeRows leaves rows of zeros as they are", async (gpu) => {
  using _scope = gpu.scope();
  const y = await gpu.read(normalizeRows(gpu.tensor(Float32Array.of(0, 0, 3, 4), [2, 2])));
  assertClose(y, [0, 0, 0.6, 0.8], 1e-6, "rows");
});

function lossOf(images: Float64Array, texts: Float64Array, s: number, width: number): number {
  const n = images.length / width;
  const logits = Array.from({ length: n }, (_, i) =>
    Array.from({ length: n }, (_, j) => {
      let dot = 0;
      for (let k = 0; k < width; k++) dot += images[i * width + k]! * texts[j * width + k]!;
      return dot * Math.exp(s);
    }));
  const missed = (row: number[], i: number) => {
    const top = Math.max(...row);
    return Math.log(row.reduce((sum, v) => sum + Math.exp(v - top), 0)) + top - row[i]!;
  };
  const columns = logits.map((_, j) => logits.map((row) => row[j]!));
  const sum = (rows: number[][]) => rows.reduce((sum, row, i) => sum + missed(row, i), 0);
  return (sum(logits) + sum(columns)) / (2 * n);
}

// few enough for the small kernel, since those by tiles take seconds to compile
for (const [n, width] of [[1, 4], [3, 17], [63, 8], [17, 63]] as const) {
  everyPathTest(
    `contrastiveLoss equals its float64 reference for ${n} pairs of width ${width}`,
    (gpu) =>
      checkOperation(gpu, {
        name: `contrastive ${n}x${width}`,
        op: (x, y, s) => contrastiveLoss(normalizeRows(x!), normalizeRows(y!), s!, 3),
        reference: (x, y, s) =>
          Float64Array.of(3 * lossOf(normalized(x!, width), normalized(y!, width), s![0]!, width)),
        shapes: [[n, width], [n, width], [1]],
        draw: (random, input) => input === 2 ? 2.6592 : random.normal(),
        // of a single pair the gradient is zero, which no relative error can tell
        ...n === 1 && { differentiable: [false, false, false] },
      }),
  );
}

gpuTest("contrastiveLoss trains one side where the other is frozen", (gpu) =>
  checkOperation(gpu, {
    name: "one side",
    op: (x, y, s) => contrastiveLoss(x!, y!, s!),
    reference: (x, y, s) => Float64Array.of(lossOf(x!, y!, s![0]!, 6)),
    shapes: [[9, 6], [9, 6], [1]],
    differentiable: [false, true, false],
  }));

gpuTest("contrastiveLoss names what does not fit", (gpu) => {
  using _scope = gpu.scope();
  const [x, y, s] = [gpu.zeros([2, 4]), gpu.zeros([3, 4]), gpu.zeros([1])];
  assertThrows(() => contrastiveLoss(x, y, s), ShapeError, "[3,4]");
  return Promise.resolve();
});

gpuTest(
  "concatRows puts matrices below each other, of any number of rows",
  (gpu) =>
    checkOperation(gpu, {
      name: "concat",
      op: (...parts) => concatRows(parts),
      reference: (...parts) => Float64Array.from(parts.flatMap((part) => [...part])),
      shapes: [[3, 5], [1, 5], [7, 5]],
    }),
);
