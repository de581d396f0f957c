import { gather } from "./rows.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import type { Kernel } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { type Vectors, vectors } from "./runtime/vectors.ts";
import { entry, setOrAdd } from "./runtime/wgsl.ts";

const SIZE = 64;
/** Rows that one sum takes at most, so that a token which is everywhere does not take forever. */
const SEGMENT = 64;

/** Sums of rows of one matrix into rows of another. */
export interface RowSums {
  /** For each sum its row of the result; where its terms begin, and where the last one's end; the terms' rows. */
  readonly index: Tensor;
  /** Number of sums. */
  readonly count: number;
}

/** Tokens of a batch, and which of their gradients add up to which row of the table's gradient. */
export interface EmbeddingPlan {
  /** Token ids, uint32 [T]. */
  readonly ids: Tensor;
  /** Rows of the table. */
  readonly vocabulary: number;
  /** What backward sums, one after the other; empty when the table is frozen. */
  readonly sums: readonly RowSums[];
}

/**
 * Puts the tokens of a batch on the device, sorted for the gradient of the table.
 *
 * @param gpu The device.
 * @param ids Token ids.
 * @param table The table that they will be looked up in [vocabulary, width].
 */
export function embeddingPlan(
  gpu: Gpu,
  ids: Uint32Array<ArrayBuffer>,
  table: Tensor,
): EmbeddingPlan {
  const vocabulary = table.rows;
  const wrong = ids.findIndex((id) => id >= vocabulary);
  if (wrong >= 0) {
    throw new ShapeError(
      `Token ${wrong} has the id ${ids[wrong]}, but the table has ${vocabulary} rows.`,
    );
  }
  const sums = table.requiresGrad ? plan(ids, vocabulary).map((sum) => upload(gpu, sum)) : [];
  return { ids: gpu.tensor(ids, [ids.length], "token ids"), vocabulary, sums };
}

interface HostSums {
  targets: number[];
  starts: number[];
  terms: Uint32Array;
}

/** One pass when no id has more than a segment of rows, else one into partial sums and one over them. */
function plan(ids: Uint32Array, vocabulary: number): HostSums[] {
  const ends = new Uint32Array(vocabulary + 1);
  for (const id of ids) ends[id + 1]!++;
  for (let id = 0; id < vocabulary; id++) ends[id + 1]! += ends[id]!;
  const terms = new Uint32Array(ids.length);
  // an id's end begins where the rows of those before it end, and moves on with each of its own
  ids.forEach((id, row) => terms[ends[id]!++] = row);

  const whole: HostSums = { targets: [], starts: [], terms };
  const parts: HostSums = { targets: [], starts: [], terms };
  const starts: number[] = [];
  for (let id = 0; id < vocabulary; id++) {
    const start = ends[id - 1] ?? 0, end = ends[id]!;
    if (start === end) continue;
    whole.targets.push(id);
    whole.starts.push(start);
    starts.push(parts.targets.length);
    for (let at = start; at < end; at += SEGMENT) {
      parts.starts.push(at);
      parts.targets.push(parts.targets.length);
    }
  }
  const count = parts.targets.length;
  if (count === whole.targets.length) return [whole];
  // parts are their own targets, in order, and then the terms of the whole
  return [parts, { targets: whole.targets, starts, terms: Uint32Array.from(parts.targets) }];
}

function upload(gpu: Gpu, { targets, starts, terms }: HostSums): RowSums {
  const count = targets.length;
  const index = new Uint32Array(2 * count + 1 + terms.length);
  index.set(targets);
  index.set(starts, count);
  index[2 * count] = terms.length;
  index.set(terms, 2 * count + 1);
  return { index: gpu.tensor(index, [index.length], "token order"), count };
}

function sumKernel(gpu: Gpu, { size, code }: Vectors): Kernel {
  return gpu.kernel(`embedding_sum/${size}`, () =>
    `${code}
struct Params { count: u32, width: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  let sum = i / p.width;
  if (sum < p.count) {
    let column = i - sum * p.width;
    let terms = 2u * p.count + 1u;
    let end = index[p.count + sum + 1u];
    var v = T(0.0);
    for (var j = index[p.count + sum]; j < end; j++) { v += x[index[terms + j] * p.width + column]; }
    let o = index[sum] * p.width + column;
    ${setOrAdd("y[o]", "v")}
  }`,
      )
    }`);
}

function addRows(x: Tensor, { index, count }: RowSums, y: Tensor, accumulate: boolean): void {
  const { gpu, width } = x;
  const v = vectors(width);
  const params = [count, width / v.size, Number(accumulate)];
  gpu.run(sumKernel(gpu, v), [x, index, y], params, Math.ceil(count * width / v.size / SIZE));
}

/**
 * Looks tokens up in a table of vectors. The gradient is summed in a fixed order.
 *
 * @param table Vectors [vocabulary, width].
 * @param tokens A plan made for this table, or without gradient plain ids, uint32 [T], which must be below the vocabulary.
 * @returns [T, width]
 */
export function embedding(table: Tensor, tokens: EmbeddingPlan | Tensor): Tensor {
  const { gpu, width } = table;
  const plan = "sums" in tokens ? tokens : undefined;
  const ids = plan ? plan.ids : tokens as Tensor;
  if (ids.dtype !== "uint32" || (plan && plan.vocabulary !== table.rows)) {
    throw new ShapeError(
      `embedding: ${ids.dtype} ids for ${plan?.vocabulary ?? "any number of"} rows do not fit ` +
        `a table [${table.shape}].`,
    );
  }
  const y = gpu.empty([ids.size, width]);
  gather(table, ids, y);
  const sums = plan?.sums ?? [];
  if (gpu.tape && table.requiresGrad && sums.length === 0) {
    throw new ShapeError("embedding: a table that trains needs a plan made while it does.");
  }
  gpu.tape?.record("embedding", y, [table], sums.map(({ index }) => index), (dy, tape) => {
    const { grad, accumulate } = tape.target(table);
    if (!accumulate) gpu.clear(grad);
    let from = dy;
    sums.forEach((sum, i) => {
      const last = i === sums.length - 1;
      const to = last ? grad : gpu.empty([sum.count, width], "float32", "partial sums");
      addRows(from, sum, to, last);
      from = to;
    });
  });
  return y;
}
