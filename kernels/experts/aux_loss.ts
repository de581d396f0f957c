import { ShapeError } from "../runtime/errors.ts";
import type { Gpu } from "../runtime/gpu.ts";
import { f32, type Kernel } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry } from "../runtime/wgsl.ts";
import type { Sequences } from "../sequences.ts";
import type { Routing } from "./routing.ts";

const SIZE = 64;

/**
 * The loss that keeps experts evenly used: α · mean over sequences of Σₑ fₑ · Pₑ, where fₑ = E / (k · length) times the
 * number of the sequence's choices that fell on expert e, and Pₑ is its mean score. The choices have no gradient.
 *
 * The sequence-wise balance loss of DeepSeek-AI, "DeepSeek-V3 Technical Report", 2024; over all rows at once it is that
 * of Fedus et al., "Switch Transformers", 2021.
 *
 * @param scores A probability for each expert [T, E].
 * @param routing What was chosen by them.
 * @param sequences Which rows form which sequence.
 * @param alpha α.
 * @param bySequence Whether each sequence is to be balanced; otherwise all rows together.
 * @returns The loss [1].
 */
export function balanceLoss(
  scores: Tensor,
  routing: Routing,
  sequences: Sequences,
  alpha: number,
  bySequence = true,
): Tensor {
  const { gpu, rows: tokens, width: experts } = scores;
  const { chosen, choices } = routing;
  const { tiles, total, lengths } = sequences;
  if (total !== tokens || routing.tokens !== tokens || routing.experts !== experts) {
    throw new ShapeError(
      `balanceLoss: scores [${scores.shape}] do not fit choices [${chosen.shape}] of ` +
        `${routing.experts} experts and sequences of ${total} rows.`,
    );
  }
  const count = tiles.rows;
  const loss = gpu.empty([1], "float32", "balance loss");
  using scope = gpu.scope();
  const counts = gpu.empty([count, experts]), sums = gpu.empty([count, experts]);
  // the gradient of each score of a tile
  const slopes = gpu.empty([count, experts], "float32", "balance");
  gpu.run(tileKernel(gpu), [scores, chosen, tiles, counts, sums], [experts, choices], count);
  const factor = alpha * experts / choices / (bySequence ? lengths.length : 1);
  const whole = bySequence ? 0 : tokens;
  const params = [count, experts, whole, f32(factor)];
  gpu.run(lossKernel(gpu), [tiles, counts, sums, slopes, loss], params, 1);
  gpu.tape?.record("balance_loss", loss, [scores], [slopes, tiles], (dy, tape) => {
    const { grad, accumulate } = tape.target(scores);
    const params = [experts, Number(accumulate)];
    gpu.run(backwardKernel(gpu), [slopes, tiles, dy, grad], params, count);
  });
  return scope.keep(loss);
}

/** Each expert's choices and scores in a tile, added up. */
function tileKernel(gpu: Gpu): Kernel {
  return gpu.kernel("experts_balance_tiles", () => `
@group(0) @binding(0) var<storage, read> scores: array<f32>;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;
@group(0) @binding(2) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> counts: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
struct Params { experts: u32, choices: u32 }
@group(0) @binding(5) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let tile = tiles[group];
  for (var e = lane; e < p.experts; e += ${SIZE}u) {
    var count = 0.0;
    for (var i = tile.x * p.choices; i < (tile.x + tile.y) * p.choices; i++) {
      count += select(0.0, 1.0, chosen[i] == e);
    }
    var sum = 0.0;
    for (var row = tile.x; row < tile.x + tile.y; row++) { sum += scores[row * p.experts + e]; }
    counts[group * p.experts + e] = count;
    sums[group * p.experts + e] = sum;
  }`,
    )
  }`);
}

/** The loss, and each score's slope: α · E · count / (N · k · length²). */
function lossKernel(gpu: Gpu): Kernel {
  return gpu.kernel("experts_balance_loss", () => `
@group(0) @binding(0) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(1) var<storage, read> counts: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> slopes: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
struct Params { tiles: u32, experts: u32, whole: u32, factor: f32 }
@group(0) @binding(5) var<uniform> p: Params;
var<workgroup> losses: array<f32, ${SIZE}>;
${
    entry(
      gpu,
      SIZE,
      `var own = 0.0;
  for (var e = lane; e < p.experts; e += ${SIZE}u) {
    var first = 0u;
    while (first < p.tiles) {
      let start = tiles[first].z;
      var count = 0.0;
      var sum = 0.0;
      var next = first;
      while (next < p.tiles && (p.whole > 0u || tiles[min(next, p.tiles - 1u)].z == start)) {
        count += counts[next * p.experts + e];
        sum += sums[next * p.experts + e];
        next++;
      }
      let length = f32(select(tiles[first].w - start, p.whole, p.whole > 0u));
      let slope = p.factor * (count / length) / length;
      own += slope * sum;
      for (; first < next; first++) { slopes[first * p.experts + e] = slope; }
    }
  }
  losses[lane] = own;
  workgroupBarrier();
  if (lane == 0u) {
    var sum = 0.0;
    for (var l = 0u; l < ${SIZE}u; l++) { sum += losses[l]; }
    loss[0] = sum;
  }`,
    )
  }`);
}

function backwardKernel(gpu: Gpu): Kernel {
  return gpu.kernel("experts_balance_dx", () => `
@group(0) @binding(0) var<storage, read> slopes: array<f32>;
@group(0) @binding(1) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
struct Params { experts: u32, accumulate: u32 }
@group(0) @binding(4) var<uniform> p: Params;
${
    entry(
      gpu,
      SIZE,
      `let tile = tiles[group];
  for (var i = lane; i < tile.y * p.experts; i += ${SIZE}u) {
    var g = dy[0] * slopes[group * p.experts + i % p.experts];
    let at = tile.x * p.experts + i;
    if (p.accumulate == 1u) { g += dx[at]; }
    dx[at] = g;
  }`,
    )
  }`);
}
