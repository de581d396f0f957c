/** Kernels that are bound by memory, at the shapes of MiniMind2 (512 and 1408 wide) and CLIP ViT-B/16. */
import { activation } from "../kernels/activation.ts";
import { crossEntropy } from "../kernels/cross_entropy.ts";
import { add, startTape } from "../kernels/elementwise.ts";
import { embedding, embeddingPlan } from "../kernels/embedding.ts";
import { layerNorm } from "../kernels/layer_norm.ts";
import { adamw, decideUpdate, squaredNorm, updateState } from "../kernels/optimizer.ts";
import { clipEmbeddings, normalizePixels, patchify } from "../kernels/patches.ts";
import { argmax, sum } from "../kernels/reduce.ts";
import { rmsNorm } from "../kernels/rms_norm.ts";
import { gatherRows, spliceRows } from "../kernels/rows.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { sampleTokens, samplingSettings } from "../kernels/sample_tokens.ts";
import { swiglu } from "../kernels/swiglu.ts";
import { Random } from "../model/random.ts";
import { benchBytes, benchFlops, gpu } from "./support/bench_part.ts";

// on a graphics card 100 MB and more are moved where that can be, beside which two microseconds a dispatch do not count
const { software } = gpu.info;
const ROWS = software ? 2048 : 65536;
const WIDE_ROWS = software ? 2048 : 16384;
const PICTURES = software ? 4 : 128;
const WIDE_PICTURES = software ? 4 : 32;
const [WIDTH, INNER, VOCABULARY] = [512, 1408, 6400];
const [VISION_WIDTH, VISION_INNER, TOKENS] = [768, 3072, 197];

// what is regular makes logits so far apart that gradients are denormal, which some drivers compute 20 times slower
const random = new Random(0);
const ids = (n: number, below: number) =>
  Uint32Array.from({ length: n }, (_, i) => i * 7919 % below);

function uniform(...shape: number[]): Tensor {
  const values = new Float32Array(shape.reduce((a, b) => a * b));
  const drawn = Math.min(values.length, 2 ** 20 - 1); // then the same again, there are many
  for (let i = 0; i < drawn; i++) values[i] = 2 * random.float() - 1;
  for (let i = drawn; i < values.length; i += drawn) {
    values.set(values.subarray(0, Math.min(drawn, values.length - i)), i);
  }
  return gpu.tensor(values, shape);
}

type Operation = (...inputs: Tensor[]) => Tensor;

/** Prepares an operation, and its backward pass when `trained`. */
function prepareOperation(
  shapes: readonly number[][],
  op: Operation,
  trained: boolean,
): () => () => void {
  return () => {
    const inputs = shapes.map((shape) => uniform(...shape));
    if (!trained) return () => void op(...inputs);
    for (const input of inputs) {
      input.requiresGrad = true;
      input.grad = gpu.empty(input.shape);
    }
    const dy = gpu.zeros(op(...inputs).shape);
    return () => {
      using tape = startTape(gpu);
      tape.backward([op(...inputs)], dy);
      for (const input of inputs) input.gradFilled = false;
    };
  };
}

/** Benchmarks an operation forward, and forward with backward. */
function benchOperation(
  name: string,
  shapes: readonly number[][],
  forwardFloats: number,
  backwardFloats: number,
  op: Operation,
): void {
  const title = `${name} [${shapes[0]}]`;
  benchBytes(title, 4 * forwardFloats, prepareOperation(shapes, op, false));
  const all = 4 * (forwardFloats + backwardFloats);
  benchBytes(`${title} + backward`, all, prepareOperation(shapes, op, true));
}

const x = ROWS * WIDTH;
const v = PICTURES * TOKENS * VISION_WIDTH;
benchOperation("add", [[ROWS, WIDTH], [ROWS, WIDTH]], 3 * x, 4 * x, add);
benchOperation("rmsNorm", [[ROWS, WIDTH], [WIDTH]], 2 * x, 5 * x, (a, w) => rmsNorm(a!, w!, 1e-5));
benchOperation(
  "layerNorm",
  [[PICTURES * TOKENS, VISION_WIDTH], [VISION_WIDTH], [VISION_WIDTH]],
  2 * v,
  6 * v,
  (a, w, b) => layerNorm(a!, w!, b!, 1e-5),
);
const inner = WIDE_ROWS * INNER;
benchOperation("swiglu", [[WIDE_ROWS, 2 * INNER]], 3 * inner, 5 * inner, (a) => swiglu(a!));
const mlp = WIDE_PICTURES * TOKENS * VISION_INNER;
for (const kind of ["quick_gelu", "gelu"] as const) {
  const shape = [WIDE_PICTURES * TOKENS, VISION_INNER];
  benchOperation(kind, [shape], 2 * mlp, 3 * mlp, (a) => activation(a!, kind));
}
const table = VOCABULARY * WIDTH;
benchOperation(
  `embedding of ${ROWS} in`,
  [[VOCABULARY, WIDTH]],
  2 * x,
  table + 2 * x,
  (t) => embedding(t!, embeddingPlan(gpu, ids(ROWS, 1000), t!)),
);
const half = ROWS / 2;
const rows = gpu.tensor(Uint32Array.from({ length: half }, (_, i) => 2 * i), [half]);
benchOperation(
  "gatherRows",
  [[ROWS, WIDTH]],
  x,
  2 * x,
  (a) => gatherRows(a!, rows),
);
benchOperation(
  "spliceRows",
  [[ROWS, WIDTH], [half, WIDTH]],
  x,
  3 * x,
  (a, features) => spliceRows(a!, features!, rows),
);
benchOperation("sum", [[ROWS, WIDTH]], x, x, (a) => sum(a!));

const pixels = PICTURES * 3 * 224 * 224;
benchBytes(`normalizePixels of ${PICTURES} pictures`, 5 * pixels, () => {
  const bytes = gpu.tensor(ids(pixels / 4, 2 ** 31), [pixels / 4]);
  const half = [0.5, 0.5, 0.5] as const;
  return () => void normalizePixels(bytes, [PICTURES, 3, 224, 224], half, half);
});
benchBytes(`patchify of ${PICTURES} pictures`, 8 * pixels, () => {
  const pictures = uniform(PICTURES, 3, 224, 224);
  return () => void patchify(pictures, 16);
});
benchBytes(`clipEmbeddings of ${PICTURES} pictures`, 8 * v, () => {
  const patches = uniform(PICTURES * (TOKENS - 1), VISION_WIDTH);
  const [token, positions] = [uniform(VISION_WIDTH), uniform(TOKENS, VISION_WIDTH)];
  return () => void clipEmbeddings(patches, token, positions);
});

const asked = WIDE_ROWS / 2;
const targets = ids(asked, VOCABULARY);
const headFlops = 2 * asked * WIDTH * VOCABULARY;
for (const trained of [false, true]) {
  const loss: Operation = (hidden, head) =>
    crossEntropy(hidden!, head!, targets, { weight: 1 / asked });
  const shapes = [[asked, WIDTH], [VOCABULARY, WIDTH]];
  benchFlops(
    `crossEntropy [${asked},${WIDTH}] × ${VOCABULARY}${trained ? " + backward" : ""}`,
    trained ? 3 * headFlops : headFlops,
    prepareOperation(shapes, loss, trained),
  );
}
benchBytes(`argmax [8, ${VOCABULARY}]`, 4 * 8 * VOCABULARY, () => {
  const a = uniform(8, VOCABULARY);
  return () => void argmax(a);
});
for (const [rows = 0, temperature = 0] of [[1, 0], [1, 0.65], [8, 0.65]]) {
  const bytes = 4 * rows * VOCABULARY;
  benchBytes(`sampleTokens [${rows}, ${VOCABULARY}] at ${temperature}`, bytes, () => {
    const a = uniform(rows, VOCABULARY);
    const settings = { repetitionPenalty: 1, temperature, topK: 50, topP: 0.85, minP: 0 };
    const uniforms = uniform(rows);
    const all = samplingSettings(gpu, Array(rows).fill(settings));
    return () => void sampleTokens(a, all, uniforms);
  });
}

const WEIGHTS = software ? 13_000_000 : 52_000_000;
benchBytes(`squaredNorm [${WEIGHTS}]`, 4 * WEIGHTS, () => {
  const gradients = gpu.zeros([WEIGHTS]);
  return () => void squaredNorm([gradients]);
});
benchBytes(`adamw [${WEIGHTS}]`, 7 * 4 * WEIGHTS, () => {
  const flat = () => gpu.zeros([WEIGHTS]);
  const tensors = { values: flat(), gradients: flat(), first: flat(), second: flat() };
  const [state, rates] = [updateState(gpu), gpu.zeros([1])];
  const constants = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };
  decideUpdate(state, gpu.zeros([1]), constants, 1);
  return () => adamw(tensors, state, rates, 0, constants);
});
