import { assert, assertThrows } from "@std/assert";
import { attention } from "../kernels/attention.ts";
import { scale } from "../kernels/elementwise.ts";
import { type HeadLayout, rope, type RopeScaling, ropeTable } from "../kernels/rope.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { packSequences } from "../kernels/sequences.ts";
import { attentionReference } from "./support/attention_reference.ts";
import { checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

/** Rows of PyTorch's float32 tables: cosines, then sines. */
interface Fixture {
  headDim: number;
  maxPositions: number;
  theta: number;
  scaling: RopeScaling | null;
  positions: number[];
  rows: number[][];
}

const LENGTHS = [3, 1, 17, 65];
const POSITIONS = LENGTHS.flatMap((n) => Array.from({ length: n }, (_, i) => i));

function reference(
  qkv: Float64Array,
  { heads, kvHeads, headDim }: HeadLayout,
  theta: number,
): Float64Array {
  const y = qkv.slice(), half = headDim / 2, stride = (heads + 2 * kvHeads) * headDim;
  POSITIONS.forEach((position, row) => {
    for (let head = 0; head < heads + kvHeads; head++) {
      for (let i = 0; i < half; i++) {
        const at = row * stride + head * headDim + i;
        const angle = position * theta ** (-i / half);
        const [a, b] = [qkv[at]!, qkv[at + half]!];
        y[at] = a * Math.cos(angle) - b * Math.sin(angle);
        y[at + half] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
  });
  return y;
}

gpuTest("ropeTable equals PyTorch's, with and without YaRN", async (gpu) => {
  const path = new URL("./fixtures/rope_tables.json", import.meta.url);
  const fixtures: Fixture[] = JSON.parse(await Deno.readTextFile(path));
  for (const { headDim, maxPositions, theta, scaling, positions, rows } of fixtures) {
    using table = ropeTable(gpu, headDim, maxPositions, theta, scaling ?? undefined);
    const values = await gpu.read(table);
    positions.forEach((position, i) =>
      rows[i]!.forEach((want, k) => {
        const got = values[position * headDim + k]!;
        assert(
          Math.abs(got - want) < 1e-6,
          `width ${headDim}, position ${position}, column ${k}: ${got} is not ${want}`,
        );
      })
    );
  }
});

for (const headDim of [2, 8, 12, 24]) {
  const layout = { heads: 4, kvHeads: 2, headDim };
  gpuTest(`rope of heads of width ${headDim} equals its reference`, (gpu) =>
    checkOperation(gpu, {
      name: `rope ${headDim}`,
      op: (qkv) => {
        const { positions, longest } = packSequences(gpu, LENGTHS);
        return rope(qkv!, ropeTable(gpu, headDim, longest, 1e4), positions, layout);
      },
      reference: (qkv) => reference(qkv!, layout, 1e4),
      shapes: [[POSITIONS.length, 8 * headDim]],
    }));
}

gpuTest("gradients pass through attention, rope and what came before", (gpu) => {
  const layout = { heads: 4, kvHeads: 2, headDim: 8, causal: true };
  return checkOperation(gpu, {
    name: "attention of rope",
    op: (x) => {
      const sequences = packSequences(gpu, LENGTHS);
      const table = ropeTable(gpu, 8, sequences.longest, 1e4);
      const qkv = rope(scale(x!, 2), table, sequences.positions, layout);
      return attention(qkv, sequences, layout);
    },
    reference: (x) =>
      attentionReference(reference(x!.map((v) => 2 * v), layout, 1e4), LENGTHS, layout).y,
    shapes: [[POSITIONS.length, 64]],
    samples: 30,
  });
});

gpuTest("rope refuses shapes that do not fit", async (gpu) => {
  using _scope = gpu.scope();
  const table = ropeTable(gpu, 8, 10, 1e4);
  const { positions } = packSequences(gpu, [5]);
  const layout = { heads: 4, kvHeads: 2, headDim: 8 };
  assertThrows(() => rope(gpu.zeros([5, 48]), table, positions, layout), ShapeError);
  assertThrows(() => rope(gpu.zeros([6, 64]), table, positions, layout), ShapeError);
  assertThrows(
    () => rope(gpu.zeros([5, 96]), table, positions, { ...layout, headDim: 12 }),
    ShapeError,
  );
  assertThrows(() => ropeTable(gpu, 7, 10, 1e4), ShapeError);
  await gpu.wait();
});
