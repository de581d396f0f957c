/** Matrix products at the shapes of MiniMind2 (26M: 512 wide, 104M: 768 wide) and CLIP ViT-B/16, in the three layouts of training. */
import { type Choice, type Layout, product } from "../kernels/matmul.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { benchBytes, benchFlops, gpu } from "./support/bench_part.ts";

const BATCH = gpu.info.software ? 1 : 16;
const [TOKENS, LABELS, PATCHES] = [1024 * BATCH, 200 * BATCH, 788 * BATCH];

/**
 * A linear layer from `inner` to `outer` on `rows` rows: its output, its input's gradient, its weight's gradient, or with a
 * kernel given the first alone.
 */
function benchLinear(
  name: string,
  rows: number,
  inner: number,
  outer: number,
  precision: Precision = "float32",
  choice?: Choice,
): void {
  const products: readonly [Layout, number, number, number][] = [
    ["NT", rows, outer, inner],
    ["NN", rows, inner, outer],
    ["TN", outer, inner, rows],
  ];
  for (const [layout, m, n, k] of products.slice(0, choice ? 1 : 3)) {
    benchFlops(`${name} ${layout} ${m} × ${n} × ${k}`, 2 * m * n * k, () => {
      const [a, b, out] = [gpu.zeros([m, k]), gpu.zeros([n, k]), gpu.empty([m, n])];
      return () => product(layout, a, b, out, { m, n, k, precision }, choice);
    });
  }
}

/** A linear layer on the few rows of a decoding step: bound by reading its weight. */
function benchDecode(name: string, rows: number, inner: number, outer: number): void {
  const extents = { m: rows, n: outer, k: inner };
  benchBytes(`${name}, ${rows} × ${outer} × ${inner}`, 4 * outer * inner, () => {
    const [a, b] = [gpu.zeros([rows, inner]), gpu.zeros([outer, inner])];
    const out = gpu.empty([rows, outer]);
    return () => product("NT", a, b, out, extents);
  });
}

benchLinear("26M q, k and v", TOKENS, 512, 768);
benchLinear("26M attention out", TOKENS, 512, 512);
benchLinear("26M gate and up", TOKENS, 512, 2816);
benchLinear("26M down", TOKENS, 1408, 512);
benchLinear("26M logits", LABELS, 512, 6400);
benchLinear("104M q, k and v", TOKENS, 768, 1152);
benchLinear("104M gate and up", TOKENS, 768, 4096);
benchLinear("104M down", TOKENS, 2048, 768);
benchLinear("CLIP q, k and v", PATCHES, 768, 2304);
benchLinear("CLIP attention out", PATCHES, 768, 768);
benchLinear("CLIP up", PATCHES, 768, 3072);
benchLinear("CLIP down", PATCHES, 3072, 768);
if (gpu.info.float16 && !gpu.info.software) {
  const float16Sums: Choice = { family: "tiled", tile: 64, float16Sums: true };
  for (
    const [name, choice] of [["float16", undefined], [
      "float16, float16 sums",
      float16Sums,
    ]] as const
  ) {
    benchLinear(`26M gate and up in ${name},`, TOKENS, 512, 2816, "float16", choice);
    benchLinear(`CLIP up in ${name},`, PATCHES, 768, 3072, "float16", choice);
  }
}
for (const rows of [1, 4, 8]) {
  benchDecode("decode gate and up", rows, 512, 2816);
  benchDecode("decode logits", rows, 512, 6400);
}
