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
import { benchBytes, gpu } from "./support/bench_part.ts";

const ROWS = gpu.info.software ? 2048 : 16384;
const PICTURES = gpu.info.software ? 4 : 32;
const [WIDTH, INNER, VOCABULARY] = [512, 1408, 6400];
const [VISION_WIDTH, VISION_INNER, TOKENS] = [768, 3072, 197];

// what is regular makes logits so far apart that gradients are denormal, which some drivers compute 20 times slower
const random = new Random(0);
const ids = (n: number, below: number) =>
  Uint32Array.from({ length: n }, (_, i) => i * 7919 % below);

function uniform(...shape: number[]): Tensor {
  const values = new Float32Array(shape.reduce((a, b) => a * b));
  for (let i = 0; i < values.length; i++) values[i] = 2 * random.float() - 1; // fast, there are many
  return gpu.tensor(values, shape);
}

/** Benchmarks an operation forward, and forward with backward. */
function benchOperation(
  name: string,
  shapes: readonly number[][],
  forwardFloats: number,
  backwardFloats: number,
  op: (...inputs: Tensor[]) => Tensor,
): void {
  const prepare = (trained: boolean) => () => {
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
  const title = `${name} [${shapes[0]}]`;
  benchBytes(title, 4 * forwardFloats, prepare(false));
  benchBytes(`${title} + backward`, 4 * (forwardFloats + backwardFloats), prepare(true));
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
const inner = ROWS * INNER;
benchOperation("swiglu", [[ROWS, 2 * INNER]], 3 * inner, 5 * inner, (a) => swiglu(a!));
const mlp = PICTURES * TOKENS * VISION_INNER;
for (const kind of ["quick_gelu", "gelu"] as const) {
  const shape = [PICTURES * TOKENS, VISION_INNER];
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
const rows = Uint32Array.from({ length: half }, (_, i) => 2 * i);
benchOperation(
  "gatherRows",
  [[ROWS, WIDTH]],
  x,
  2 * x,
  (a) => gatherRows(a!, gpu.tensor(rows, [half])),
);
benchOperation(
  "spliceRows",
  [[ROWS, WIDTH], [half, WIDTH]],
  x,
  3 * x,
  (a, features) => spliceRows(a!, features!, gpu.tensor(rows, [half])),
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

const logits = half * VOCABULARY, targets = ids(half, VOCABULARY);
benchOperation(
  `crossEntropy × ${VOCABULARY}`,
  [[half, WIDTH], [VOCABULARY, WIDTH]],
  3 * logits,
  4 * logits,
  (hidden, head) => crossEntropy(hidden!, head!, targets, { weight: 1 / half }),
);
benchBytes(`argmax [8, ${VOCABULARY}]`, 4 * 8 * VOCABULARY, () => {
  const a = uniform(8, VOCABULARY);
  return () => void argmax(a);
});
benchBytes(`sampleTokens [8, ${VOCABULARY}]`, 4 * 8 * VOCABULARY, () => {
  const a = uniform(8, VOCABULARY);
  const settings = { repetitionPenalty: 1, temperature: 0.65, topK: 50, topP: 0.85, minP: 0 };
  const uniforms = uniform(8);
  const all = samplingSettings(gpu, Array(8).fill(settings));
  return () => void sampleTokens(a, all, uniforms);
});

const WEIGHTS = 13_000_000;
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
