import { ShapeError } from "./runtime/errors.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry } from "./runtime/wgsl.ts";

const SIZE = 64;

/**
 * Logits less `frequency · count + presence · (count > 0)`, as OpenAI's interface defines the two penalties.
 *
 * @param logits [B, vocabulary].
 * @param counts How often each token was drawn, uint32 [B, vocabulary].
 * @param penalties Presence and frequency penalty of each sequence, float32 [B, 2].
 * @returns [B, vocabulary].
 * @throws {ShapeError} when shapes do not fit together.
 */
export function penalizeCounts(logits: Tensor, counts: Tensor, penalties: Tensor): Tensor {
  const { gpu, rows, width } = logits;
  if (counts.size !== logits.size || penalties.size !== rows * 2) {
    throw new ShapeError(
      `penalizeCounts: logits [${logits.shape}], counts [${counts.shape}] and penalties [${penalties.shape}] do not fit.`,
    );
  }
  const kernel = gpu.kernel("penalize_counts", () => `
struct Params { n: u32, width: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> penalties: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) {
    let count = f32(counts[i]);
    out[i] = logits[i] - dot(penalties[i / p.width], vec2f(min(count, 1.0), count));
  }`,
    )
  }`);
  const out = gpu.empty(logits.shape, "float32", "penalised logits");
  const n = logits.size;
  gpu.run(kernel, [logits, counts, penalties, out], [n, width], Math.ceil(n / SIZE));
  return out;
}

/**
 * Counts one more of each sequence's token, in place.
 *
 * @param counts uint32 [B, vocabulary].
 * @param tokens uint32 [B].
 * @throws {ShapeError} when shapes do not fit together.
 */
export function countTokens(counts: Tensor, tokens: Tensor): void {
  const { gpu, rows, width } = counts;
  if (tokens.size !== rows) {
    throw new ShapeError(
      `countTokens: tokens [${tokens.shape}] do not fit counts [${counts.shape}].`,
    );
  }
  const kernel = gpu.kernel("count_tokens", () => `
struct Params { n: u32, width: u32 }
@group(0) @binding(0) var<storage, read_write> counts: array<u32>;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let i = group * ${SIZE}u + lane;
  if (i < p.n) { counts[i * p.width + min(tokens[i], p.width - 1u)]++; }`,
    )
  }`);
  gpu.run(kernel, [counts, tokens], [rows, width], Math.ceil(rows / SIZE));
}
