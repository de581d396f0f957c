import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { entry, reductions, rowLanes } from "./runtime/wgsl.ts";

/** How the next token of a sequence is chosen, in the order in which it is applied. */
export interface SamplingSettings {
  /** Above 1, tokens that have been seen become less likely. */
  readonly repetitionPenalty: number;
  /** Below 1 the likely tokens become likelier; 0 takes the likeliest, the first of equals. */
  readonly temperature: number;
  /** Only this many of the likeliest tokens; 0 is all. */
  readonly topK: number;
  /** Only the likeliest tokens that together have this probability. */
  readonly topP: number;
  /** Only tokens that are at least this fraction as likely as the likeliest. */
  readonly minP: number;
}

const SETTINGS = 8;

/** Puts settings on the device, float32 [B, 8], one row a sequence. */
export function samplingSettings(gpu: Gpu, rows: readonly SamplingSettings[]): Tensor {
  const data = rows.flatMap(({ repetitionPenalty, temperature, topK, topP, minP }) => [
    repetitionPenalty,
    temperature < 1e-30 ? 0 : temperature,
    topK,
    1 - topP,
    Math.max(Math.log(minP), -3e38),
    0,
    0,
    0,
  ]);
  return gpu.tensor(Float32Array.from(data), [rows.length, SETTINGS], "sampling settings");
}

/**
 * Puts the tokens that each sequence has on the device, one bit a token.
 *
 * @returns uint32 [B, ⌈vocabulary / 32⌉]
 */
export function seenTokens(
  gpu: Gpu,
  rows: readonly Iterable<number>[],
  vocabulary: number,
): Tensor {
  const words = Math.ceil(vocabulary / 32);
  const bits = new Uint32Array(rows.length * words);
  rows.forEach((ids, row) => {
    for (const id of ids) if (id < vocabulary) bits[row * words + (id >> 5)]! |= 1 << (id & 31);
  });
  return gpu.tensor(bits, [rows.length, words], "seen tokens");
}

/** Finds, bit by bit, the largest key `candidate` for which the sum of a term over the row passes a test. */
function largestKey(lanes: number, name: string, term: string, test: string): string {
  return `for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
      let candidate = ${name} | bit;
      var terms = 0.0;
      for (var i = lane; i < p.width; i += ${lanes}u) {
        let score = scores[start + i];
        let key = keyOf(score);
        terms += ${term};
      }
      if (sumOver(terms, lane) ${test}) { ${name} = candidate; }
    }`;
}

/** Thresholds are found by bisection over the order of float32, so nothing is sorted; then one walk over the row draws. */
function body(lanes: number, remember: boolean): string {
  return `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  let penalty = settings[row * ${SETTINGS}u];
  let temperature = settings[row * ${SETTINGS}u + 1u];
  let topK = settings[row * ${SETTINGS}u + 2u];
  let restP = settings[row * ${SETTINGS}u + 3u];
  let logMinP = settings[row * ${SETTINGS}u + 4u];
  let greedy = temperature == 0.0;

  // scores: the penalised logits, less the largest, by temperature
  var most = -3e38;
  for (var i = lane; i < p.width; i += ${lanes}u) {
    var v = clamp(logits[start + i], -3e38, 3e38);
    ${
    remember
      ? `let word = seen[row * ((p.width + 31u) / 32u) + i / 32u];
    if ((word >> (i % 32u)) % 2u == 1u) { v = select(v / penalty, v * penalty, v < 0.0); }`
      : ""
  }
    scores[start + i] = v;
    most = max(most, v);
  }
  let top = maxOver(most, lane);
  let sharpness = 1.0 / select(temperature, 1.0, greedy);
  for (var i = lane; i < p.width; i += ${lanes}u) {
    scores[start + i] = max((scores[start + i] - top) * sharpness, -3e38);
  }

  // top-k: keys below 'kth' are out
  let best = keyOf(0.0);
  var kth = select(0u, best, greedy);
  if (!greedy && topK > 0.0 && topK < f32(p.width)) {
    ${largestKey(lanes, "kth", "select(0.0, 1.0, key >= candidate)", ">= topK")}
  }

  // top-p: keys below 'edge' are out, and the first 'ties' tokens that are equal to it
  var edge = 0u;
  var ties = 0.0;
  if (!greedy && restP > 0.0) {
    var mine = 0.0;
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let score = scores[start + i];
      mine += select(0.0, exp(score), keyOf(score) >= kth);
    }
    let limit = restP * sumOver(mine, lane);
    ${
    largestKey(
      lanes,
      "edge",
      "select(0.0, exp(score), key >= kth && key < candidate)",
      "<= limit",
    )
  }
    edge = min(edge, best);
    var below = 0.0;
    var equal = 0.0;
    var weight = 0.0;
    for (var i = lane; i < p.width; i += ${lanes}u) {
      let score = scores[start + i];
      let key = keyOf(score);
      below += select(0.0, exp(score), key >= kth && key < edge);
      equal += select(0.0, 1.0, key == edge);
      weight = max(weight, select(0.0, exp(score), key == edge));
    }
    let left = limit - sumOver(below, lane);
    let count = sumOver(equal, lane);
    let each = max(maxOver(weight, lane), 1e-30);
    ties = clamp(floor(left / each), 0.0, max(count - 1.0, 0.0));
  }
  let least = max(max(kth, edge), select(keyOf(logMinP), 0u, greedy));

  // from here on each invocation has a piece of the row
  storageBarrier();
  let span = (p.width + ${lanes - 1}u) / ${lanes}u;
  let first = min(lane * span, p.width);
  let end = min(first + span, p.width);
  var equal = 0.0;
  for (var i = first; i < end; i++) {
    equal += select(0.0, 1.0, keyOf(scores[start + i]) == edge);
  }
  share(equal, lane);
  var out = select(0.0, max(ties - sharedBefore(lane), 0.0), least == edge);
  let skipped = out;
  var mass = 0.0;
  for (var i = first; i < end; i++) {
    let score = scores[start + i];
    let key = keyOf(score);
    let tied = key == edge && out > 0.0;
    out -= select(0.0, 1.0, tied);
    mass += select(0.0, exp(score), key >= least && !tied);
  }
  share(mass, lane);
  let before = sharedBefore(lane);
  let after = sharedBefore(lane + 1u);
  let total = sharedBefore(${lanes}u);
  let drawn = select(uniforms[row], 0.0, greedy) * total;
  var pick = -1.0;
  if (mass > 0.0 && before <= drawn && (drawn < after || after == total)) {
    out = skipped;
    var sum = before;
    for (var i = first; i < end; i++) {
      let score = scores[start + i];
      let key = keyOf(score);
      let tied = key == edge && out > 0.0;
      out -= select(0.0, 1.0, tied);
      let weight = select(0.0, exp(score), key >= least && !tied);
      if (weight > 0.0 && (sum <= drawn || pick < 0.0)) { pick = f32(i); }
      sum += weight;
    }
  }
  let token = u32(max(maxOver(pick, lane), 0.0));
  if (group < p.rows && lane == 0u) {
    tokens[row] = token;
    ${remember ? "seen[row * ((p.width + 31u) / 32u) + token / 32u] |= 1u << (token % 32u);" : ""}
  }`;
}

/**
 * Draws the next token of each sequence on the device: repetition penalty, temperature, top-k, top-p, min-p, and then
 * the first token, in the order of their numbers, up to which the probabilities add up to more than the drawn number.
 * That is the token which `probabilities` and `sample` of the model's sampling choose for that number.
 *
 * @param logits [B, vocabulary], without NaN.
 * @param settings See `samplingSettings`.
 * @param uniforms One number from 0 to 1 a sequence, float32 [B].
 * @param seen See `seenTokens`; the drawn tokens are added. Without it no repetition is penalised.
 * @returns uint32 [B]
 */
export function sampleTokens(
  logits: Tensor,
  settings: Tensor,
  uniforms: Tensor,
  seen?: Tensor,
): Tensor {
  const { gpu, rows, width } = logits;
  if (
    settings.size !== rows * SETTINGS || uniforms.size !== rows ||
    (seen && seen.size !== rows * Math.ceil(width / 32))
  ) {
    throw new ShapeError(
      `sampleTokens: logits [${logits.shape}], settings [${settings.shape}], uniforms ` +
        `[${uniforms.shape}] and seen tokens [${seen?.shape ?? ""}] do not fit.`,
    );
  }
  const kernel = gpu.kernel(`sample_tokens${seen ? "/seen" : ""}`, () => {
    const lanes = rowLanes(gpu.info);
    return `
struct Params { rows: u32, width: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> settings: array<f32>;
@group(0) @binding(2) var<storage, read> uniforms: array<f32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>;
${seen ? "@group(0) @binding(5) var<storage, read_write> seen: array<u32>;" : ""}
@group(0) @binding(${seen ? 6 : 5}) var<uniform> p: Params;
var<workgroup> shares: array<f32, ${lanes}>;
${reductions(gpu, lanes)}
fn share(x: f32, lane: u32) {
  workgroupBarrier();
  shares[lane] = x;
  workgroupBarrier();
}
fn sharedBefore(end: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < end; i++) { sum += shares[i]; }
  return sum;
}
// a whole number in the order of the float
fn keyOf(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
${entry(gpu, lanes, body(lanes, seen !== undefined))}`;
  });
  const tokens = gpu.empty([rows], "uint32", "tokens");
  using _scope = gpu.scope();
  const scores = gpu.empty([rows, width], "float32", "scores");
  const bindings = [logits, settings, uniforms, scores, tokens, ...seen ? [seen] : []];
  gpu.run(kernel, bindings, [rows, width], rows);
  return tokens;
}
