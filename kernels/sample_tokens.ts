import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { roundUp } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, range, reductions, rowLanes } from "./runtime/wgsl.ts";

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

/** WGSL of one invocation's walks over the row: it has the numbers `key` and `weight` of each token. */
interface Walks {
  /** Computes the scores, from the penalised logits: these less the largest, by temperature. */
  readonly scores: string;
  /** Walks over some of the tokens; those of all invocations are the row's. */
  readonly each: (body: string) => string;
  /** Walks over a piece of the row, in the order of tokens `i`. */
  readonly piece: (body: string) => string;
}

/** Makes `v` the logit of token `i`, penalised where it has been seen. */
function penalised(remember: boolean): string {
  return remember
    ? `let word = seen[row * ((p.width + 31u) / 32u) + i / 32u];
    if ((word >> (i % 32u)) % 2u == 1u) { v = select(v / penalty, v * penalty, v < 0.0); }`
    : "";
}

/** Scores are in memory. */
function readWalks({ lanes }: Deal, remember: boolean): Walks {
  const read = (body: string) =>
    `{ let score = scores[start + i]; let key = keyOf(score); let weight = exp(score); ${body} }`;
  return {
    scores: `var most = -3e38;
  for (var i = lane; i < p.width; i += ${lanes}u) {
    var v = clamp(logits[start + i], -3e38, 3e38);
    ${penalised(remember)}
    scores[start + i] = v;
    most = max(most, v);
  }
  let top = maxOver(most, lane);
  for (var i = lane; i < p.width; i += ${lanes}u) {
    scores[start + i] = max((scores[start + i] - top) * sharpness, -3e38);
  }
  storageBarrier();
  let span = (p.width + ${lanes - 1}u) / ${lanes}u;
  let first = min(lane * span, p.width);
  let end = min(first + span, p.width);`,
    each: (body) => `for (var i = lane; i < p.width; i += ${lanes}u) ${read(body)}`,
    piece: (body) => `for (var i = first; i < end; i++) ${read(body)}`,
  };
}

/** Each invocation keeps a piece of the row in registers. What is beyond the row's end has the key 0 and weighs nothing. */
function heldWalks({ held, vector }: Deal, remember: boolean): Walks {
  const tokens = range(held);
  const walk = (body: string) =>
    tokens.map((k) =>
      `{ let i = first + ${k}u; let key = key${k}; let weight = weight${k}; ${body} }`
    ).join("\n");
  const size = vector.size;
  const loads = range(held / size).map((k) =>
    `let vector${k} = logits[(start + min(first + ${k * size}u, p.width - ${size}u)) / ${size}u];`
  );
  const logits = tokens.map((k) =>
    `var logit${k} = clamp(vector${Math.floor(k / size)}${
      size > 1 ? `[${k % size}]` : ""
    }, -3e38, 3e38);
  {
    let i = min(first + ${k}u, p.width - 1u);
    var v = logit${k};
    ${penalised(remember)}
    logit${k} = v;
    most = max(most, select(-3e38, v, first + ${k}u < p.width));
  }`
  );
  const scores = tokens.map((k) =>
    `let score${k} = max((logit${k} - top) * sharpness, -3e38);
  let key${k} = select(0u, keyOf(score${k}), first + ${k}u < p.width);
  let weight${k} = select(0.0, exp(score${k}), first + ${k}u < p.width);`
  );
  return {
    scores: `let first = lane * ${held}u;
  var most = -3e38;
  ${loads.join("\n")}
  ${logits.join("\n")}
  let top = maxOver(most, lane);
  ${scores.join("\n")}`,
    each: walk,
    piece: walk,
  };
}

/** How a row is dealt out to the invocations of a workgroup. */
interface Deal {
  readonly lanes: number;
  /** Tokens of each, where their scores fit into registers, else 0. */
  readonly held: number;
  /** How logits are read then. */
  readonly vector: Vectors;
}

/** Tokens that an invocation keeps at most: more take a compiler long. */
const MOST_HELD = 16;

function dealOf({ gpu: { info, device }, width }: Tensor): Deal {
  if (info.software) return { lanes: rowLanes(info), held: 0, vector: vectors(1) };
  const most = device.limits.maxComputeInvocationsPerWorkgroup;
  const vector = vectors(width);
  const lanes = Math.min(512, most);
  const held = roundUp(Math.ceil(width / lanes), vector.size);
  if (held <= MOST_HELD) return { lanes, held, vector };
  return { lanes: Math.min(1024, most), held: 0, vector: vectors(1) };
}

/** Finds, bit by bit, the largest key `candidate` for which the sum of a term over the row passes a test. */
function largestKey({ each }: Walks, name: string, term: string, test: string): string {
  return `for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
      let candidate = ${name} | bit;
      var terms = 0.0;
      ${each(`terms += ${term};`)}
      if (sumOver(terms, lane) ${test}) { ${name} = candidate; }
    }`;
}

/** Thresholds are found by bisection over the order of float32, so nothing is sorted; then one walk over the row draws. */
function body(deal: Deal, remember: boolean): string {
  const walks = deal.held > 0 ? heldWalks(deal, remember) : readWalks(deal, remember);
  const { scores, each, piece } = walks;
  return `let row = min(group, p.rows - 1u);
  let start = row * p.width;
  let penalty = settings[row * ${SETTINGS}u];
  let temperature = settings[row * ${SETTINGS}u + 1u];
  let topK = settings[row * ${SETTINGS}u + 2u];
  let restP = settings[row * ${SETTINGS}u + 3u];
  let logMinP = settings[row * ${SETTINGS}u + 4u];
  let greedy = temperature == 0.0;
  let sharpness = 1.0 / select(temperature, 1.0, greedy);
  ${scores}

  // top-k: keys below 'kth' are out
  let best = keyOf(0.0);
  var kth = select(0u, best, greedy);
  if (!greedy && topK > 0.0 && topK < f32(p.width)) {
    ${largestKey(walks, "kth", "select(0.0, 1.0, key >= candidate)", ">= topK")}
  }

  // top-p: keys below 'edge' are out, and the first 'ties' tokens that are equal to it
  var edge = 0u;
  var ties = 0.0;
  if (!greedy && restP > 0.0) {
    var mine = 0.0;
    ${each("mine += select(0.0, weight, key >= kth);")}
    let limit = restP * sumOver(mine, lane);
    ${
    largestKey(
      walks,
      "edge",
      "select(0.0, weight, key >= kth && key < candidate)",
      "<= limit",
    )
  }
    edge = min(edge, best);
    var below = 0.0;
    var equal = 0.0;
    var each = 0.0;
    ${
    walks.each(`below += select(0.0, weight, key >= kth && key < edge);
      equal += select(0.0, 1.0, key == edge);
      each = max(each, select(0.0, weight, key == edge));`)
  }
    let left = limit - sumOver(below, lane);
    let count = sumOver(equal, lane);
    ties = clamp(floor(left / max(maxOver(each, lane), 1e-30)), 0.0, max(count - 1.0, 0.0));
  }
  let least = max(max(kth, edge), select(keyOf(logMinP), 0u, greedy));

  // the first of equal tokens are out, so from here on each invocation has a piece of the row
  var equal = 0.0;
  ${piece("equal += select(0.0, 1.0, key == edge);")}
  share(equal, lane);
  var out = select(0.0, max(ties - sharedBefore(lane), 0.0), least == edge);
  let skipped = out;
  var mass = 0.0;
  ${
    piece(`let tied = key == edge && out > 0.0;
    out -= select(0.0, 1.0, tied);
    mass += select(0.0, weight, key >= least && !tied);`)
  }
  share(mass, lane);
  let before = sharedBefore(lane);
  let after = sharedBefore(lane + 1u);
  let total = sharedBefore(${deal.lanes}u);
  let drawn = select(uniforms[row], 0.0, greedy) * total;
  var pick = -1.0;
  if (mass > 0.0 && before <= drawn && (drawn < after || after == total)) {
    out = skipped;
    var sum = before;
    ${
    piece(`let tied = key == edge && out > 0.0;
      out -= select(0.0, 1.0, tied);
      let part = select(0.0, weight, key >= least && !tied);
      if (part > 0.0 && (sum <= drawn || pick < 0.0)) { pick = f32(i); }
      sum += part;`)
  }
  }
  let token = u32(max(maxOver(pick, lane), 0.0));
  if (group < p.rows && lane == 0u) {
    tokens[row] = token;
    ${remember ? "seen[row * ((p.width + 31u) / 32u) + token / 32u] |= 1u << (token % 32u);" : ""}
  }`;
}

/** Invocations whose shares are added up beforehand, so that none has to add up all that are before it. */
const SHARED = 16;

/** WGSL: `share(x, lane)`, and then `sharedBefore(end)`, the sum of what the invocations below `end` have shared. */
function sharing(lanes: number): string {
  const groups = Math.floor(lanes / SHARED);
  return `var<workgroup> shares: array<f32, ${lanes}>;
var<workgroup> sums: array<f32, ${Math.max(groups, 1)}>;
fn sharesOf(first: u32, end: u32) -> f32 {
  var sum = 0.0;
  for (var i = first; i < end; i++) { sum += shares[i]; }
  return sum;
}
fn share(x: f32, lane: u32) {
  workgroupBarrier();
  shares[lane] = x;
  workgroupBarrier();
  ${
    groups > 1
      ? `if (lane < ${groups}u) { sums[lane] = sharesOf(lane * ${SHARED}u, (lane + 1u) * ${SHARED}u); }
  workgroupBarrier();`
      : ""
  }
}
fn sharedBefore(end: u32) -> f32 {
  var sum = 0.0;
  let groups = ${groups > 1 ? `end / ${SHARED}u` : "0u"};
  for (var i = 0u; i < groups; i++) { sum += sums[i]; }
  return sum + sharesOf(groups * ${SHARED}u, end);
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
  const deal = dealOf(logits);
  const { lanes, held, vector } = deal;
  const shape = held ? `/${lanes}x${held}x${vector.size}` : "";
  const kernel = gpu.kernel(`sample_tokens${seen ? "/seen" : ""}${shape}`, () => {
    const declared = [
      "read> logits: array<T>",
      "read> settings: array<f32>",
      "read> uniforms: array<f32>",
      "read_write> tokens: array<u32>",
      ...seen ? ["read_write> seen: array<u32>"] : [],
      ...held ? [] : ["read_write> scores: array<f32>"],
    ].map((element, i) => `@group(0) @binding(${i}) var<storage, ${element};`);
    return `${vector.code}
struct Params { rows: u32, width: u32 }
${declared.join("\n")}
@group(0) @binding(${declared.length}) var<uniform> p: Params;
${sharing(lanes)}
${reductions(gpu, lanes)}
// a whole number in the order of the float
fn keyOf(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
${entry(gpu, lanes, body(deal, seen !== undefined))}`;
  });
  const tokens = gpu.empty([rows], "uint32", "tokens");
  using _scope = gpu.scope();
  const scores = held ? [] : [gpu.empty([rows, width], "float32", "scores")];
  const bindings = [logits, settings, uniforms, tokens, ...seen ? [seen] : [], ...scores];
  gpu.run(kernel, bindings, [rows, width], rows);
  return tokens;
}
