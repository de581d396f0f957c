import { ShapeError } from "../runtime/errors.ts";
import type { Gpu } from "../runtime/gpu.ts";
import type { Kernel } from "../runtime/kernel.ts";
import { operandOf } from "../runtime/precision.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { entry, range } from "../runtime/wgsl.ts";
import { type ExpertGroups, isImaged, tilesOf } from "./groups.ts";

/** Tokens of a block of the counting sort, one an invocation. */
const BLOCK = 128;

/** Which experts compute which token, and how much each counts. It belongs to the scope in which it was made. */
export interface Routing extends ExpertGroups {
  /** Tokens, T. */
  readonly tokens: number;
  /** Experts that each token chooses, k. */
  readonly choices: number;
  /** The experts chosen, the best first: uint32 [T, k]. */
  readonly chosen: Tensor;
  /** What each chosen expert's output is multiplied by [T, k]. */
  readonly weights: Tensor;
  /** The row of each choice among the sorted rows: uint32 [T, k]. */
  readonly slots: Tensor;
  /** For each sorted row the number of its choice (token · k + rank) plus one, or 0 for padding: uint32 [P]. */
  readonly rows: Tensor;
}

/** How tokens choose. */
export interface RoutingOptions {
  /** Experts that each token chooses, k. */
  readonly choices: number;
  /** Whether a token's weights are divided by their sum, when it chooses several. */
  readonly normalize: boolean;
  /** The experts' matrices that will be multiplied; how they lie decides on the tiles. */
  readonly matrices?: readonly Tensor[] | undefined;
}

/**
 * Lets each token choose the experts of its k largest scores, the lower number among equal ones, and sorts the choices
 * by expert, in the order of the tokens. Nothing is read back.
 *
 * Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", 2017.
 *
 * @param scores A probability for each expert [T, E], the softmax of the gate's logits.
 * @throws {ShapeError} when there are fewer experts than choices.
 *
 * ```ts ignore
 * const routing = routeTokens(softmax(linear(x, gate)), { choices: 2, normalize: true });
 * const y = expertFeedForward(x, routing, gateUp, down);
 * ```
 */
export function routeTokens(scores: Tensor, options: RoutingOptions): Routing {
  const { choices, normalize, matrices } = options;
  const { gpu, rows: tokens, width: experts } = scores;
  if (!(Number.isInteger(choices) && choices >= 1 && choices <= experts)) {
    throw new ShapeError(`A token cannot choose ${choices} of ${experts} experts.`);
  }
  const normalized = normalize && choices > 1;
  const count = tokens * choices;
  const operands = matrices?.map(operandOf);
  const { tile, tiles } = tilesOf(count, experts, {
    recorded: gpu.tape !== undefined,
    imaged: operands?.every((one) => isImaged(one, experts)) ? operands[0]?.dtype : undefined,
  });
  const uint32 = (shape: readonly number[]) => gpu.empty(shape, "uint32", "routing");
  const blocks = Math.ceil(tokens / BLOCK);
  const chosen = uint32([tokens, choices]), slots = uint32([tokens, choices]);
  const weights = gpu.empty([tokens, choices], "float32", "expert weights");
  const tileExperts = uint32([tiles]), firstTiles = uint32([experts + 1]);
  const rows = uint32([tiles * tile]);
  using counts = gpu.detached(() => uint32([blocks, experts]));
  gpu.run(
    chooseKernel(gpu, choices, normalized),
    [scores, chosen, weights, counts, rows],
    [tokens, experts, rows.size, blocks * BLOCK],
    blocks,
  );
  const layout = [blocks, tiles, tile];
  gpu.run(layoutKernel(gpu, experts), [counts, firstTiles, tileExperts], layout, 1);
  gpu.run(
    placeKernel(gpu, choices),
    [chosen, counts, firstTiles, slots, rows],
    [tokens, experts, tile],
    blocks,
  );
  gpu.tape?.record(
    "expert_weights",
    weights,
    [scores],
    [scores, weights, chosen],
    (dy, tape) => {
      const { grad, accumulate } = tape.target(scores);
      const params = [tokens, experts, Number(accumulate)];
      const kernel = backwardKernel(gpu, choices, normalized);
      gpu.run(kernel, [scores, weights, chosen, dy, grad], params, blocks);
    },
  );
  return {
    experts,
    tile,
    tiles,
    tileExperts,
    firstTiles,
    tokens,
    choices,
    chosen,
    weights,
    slots,
    rows,
  };
}

/** Chooses experts, one token an invocation; counts each expert's choices in the block; empties the sorted rows. */
function chooseKernel(gpu: Gpu, choices: number, normalized: boolean): Kernel {
  return gpu.kernel(`experts_choose/${choices}/${normalized}`, () => {
    const names = range(choices);
    // each pass takes the largest score that comes after the last one taken, by score and then by number
    const pass = (j: number): string => `
    var e${j} = min(${j}u, p.experts - 1u);
    {
      var best = -1.0;
      for (var e = 0u; e < p.experts; e++) {
        let s = scores[start + e];
        if (s > best && (s < score || (s == score && e > last))) { best = s; e${j} = e; }
      }
    }
    let s${j} = scores[start + e${j}];
    score = s${j};
    last = e${j};
    chosen[at + ${j}u] = e${j};
    block[lane * ${choices}u + ${j}u] = e${j};`;
    const sum = normalized ? `(${names.map((j) => `s${j}`).join(" + ")} + 1e-20)` : "1.0";
    return `
@group(0) @binding(0) var<storage, read> scores: array<f32>;
@group(0) @binding(1) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
struct Params { tokens: u32, experts: u32, rows: u32, stride: u32 }
@group(0) @binding(5) var<uniform> p: Params;
var<workgroup> block: array<u32, ${BLOCK * choices}>;
${
      entry(
        gpu,
        BLOCK,
        `let token = group * ${BLOCK}u + lane;
  for (var i = token; i < p.rows; i += p.stride) { rows[i] = 0u; }
  ${names.map((j) => `block[lane * ${choices}u + ${j}u] = p.experts;`).join(" ")}
  if (token < p.tokens) {
    let start = token * p.experts;
    let at = token * ${choices}u;
    var score = 2.0;
    var last = 0u;
    ${names.map(pass).join("")}
    let sum = ${sum};
    ${names.map((j) => `weights[at + ${j}u] = s${j} / sum;`).join(" ")}
  }
  workgroupBarrier();
  for (var e = lane; e < p.experts; e += ${BLOCK}u) {
    var count = 0u;
    for (var i = 0u; i < ${BLOCK * choices}u; i++) { count += select(0u, 1u, block[i] == e); }
    if (group * ${BLOCK}u < p.tokens) { counts[group * p.experts + e] = count; }
  }`,
      )
    }`;
  });
}

/** Turns the blocks' counts into the place of their first choice in each expert's run, and lays the runs out in tiles. */
function layoutKernel(gpu: Gpu, experts: number): Kernel {
  return gpu.kernel(`experts_layout/${experts}`, () => `
@group(0) @binding(0) var<storage, read_write> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> firstTiles: array<u32>;
@group(0) @binding(2) var<storage, read_write> tileExperts: array<u32>;
struct Params { blocks: u32, tiles: u32, tile: u32 }
@group(0) @binding(3) var<uniform> p: Params;
var<workgroup> used: array<u32, ${experts}>;
var<workgroup> ends: array<u32, ${experts}>;
${
    entry(
      gpu,
      64,
      `for (var e = lane; e < ${experts}u; e += 64u) {
    var sum = 0u;
    for (var b = 0u; b < p.blocks; b++) {
      let count = counts[b * ${experts}u + e];
      counts[b * ${experts}u + e] = sum;
      sum += count;
    }
    used[e] = (sum + p.tile - 1u) / p.tile;
  }
  workgroupBarrier();
  for (var e = lane; e < ${experts}u; e += 64u) {
    var end = 0u;
    for (var i = 0u; i <= e; i++) { end += used[i]; }
    ends[e] = end;
    firstTiles[e + 1u] = end;
    if (e == 0u) { firstTiles[0] = 0u; }
  }
  workgroupBarrier();
  for (var tile = lane; tile < p.tiles; tile += 64u) {
    var expert = 0u;
    for (var e = 0u; e < ${experts}u; e++) { expert += select(0u, 1u, ends[e] <= tile); }
    tileExperts[tile] = expert;
  }`,
    )
  }`);
}

/** Gives every choice its row: after the same expert's choices of earlier tokens. */
function placeKernel(gpu: Gpu, choices: number): Kernel {
  return gpu.kernel(`experts_place/${choices}`, () => `
@group(0) @binding(0) var<storage, read> chosen: array<u32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read> firstTiles: array<u32>;
@group(0) @binding(3) var<storage, read_write> slots: array<u32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
struct Params { tokens: u32, experts: u32, tile: u32 }
@group(0) @binding(5) var<uniform> p: Params;
var<workgroup> block: array<u32, ${BLOCK * choices}>;
${
    entry(
      gpu,
      BLOCK,
      `let token = group * ${BLOCK}u + lane;
  for (var j = 0u; j < ${choices}u; j++) {
    if (token < p.tokens) { block[lane * ${choices}u + j] = chosen[token * ${choices}u + j]; }
  }
  workgroupBarrier();
  if (token < p.tokens) {
    for (var j = 0u; j < ${choices}u; j++) {
      let at = lane * ${choices}u + j;
      let expert = block[at];
      var row = firstTiles[expert] * p.tile + before[group * p.experts + expert];
      for (var i = 0u; i < at; i++) { row += select(0u, 1u, block[i] == expert); }
      slots[token * ${choices}u + j] = row;
      rows[row] = token * ${choices}u + j + 1u;
    }
  }`,
    )
  }`);
}

/** For w = s / (Σ s + ε): ds = (dw − Σ w·dw) / (Σ s + ε) where chosen; ds = dw without the division. */
function backwardKernel(gpu: Gpu, choices: number, normalized: boolean): Kernel {
  return gpu.kernel(`experts_choose_dx/${choices}/${normalized}`, () => {
    const names = range(choices);
    const gradient = normalized ? "(dw - mean) / sum" : "dw";
    return `
@group(0) @binding(0) var<storage, read> scores: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> chosen: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
struct Params { tokens: u32, experts: u32, accumulate: u32 }
@group(0) @binding(5) var<uniform> p: Params;
${
      entry(
        gpu,
        BLOCK,
        `let token = group * ${BLOCK}u + lane;
  if (token < p.tokens) {
    let start = token * p.experts;
    let at = token * ${choices}u;
    ${names.map((j) => `let e${j} = chosen[at + ${j}u];`).join(" ")}
    let sum = ${names.map((j) => `scores[start + e${j}]`).join(" + ")} + 1e-20;
    let mean = ${names.map((j) => `weights[at + ${j}u] * dy[at + ${j}u]`).join(" + ")};
    for (var e = 0u; e < p.experts; e++) {
      var g = 0.0;
      ${
          names.map((j) => `if (e == e${j}) { let dw = dy[at + ${j}u]; g += ${gradient}; }`)
            .join("\n      ")
        }
      if (p.accumulate == 1u) { g += dx[start + e]; }
      dx[start + e] = g;
    }
  }`,
      )
    }`;
  });
}
