/** Glimpse's side of the training step in `versus_js.ts`. */
import { attention } from "../../kernels/attention.ts";
import { crossEntropy } from "../../kernels/cross_entropy.ts";
import { startTape } from "../../kernels/elementwise.ts";
import { linear } from "../../kernels/matmul.ts";
import { rmsNorm } from "../../kernels/rms_norm.ts";
import { rope, ropeTable } from "../../kernels/rope.ts";
import type { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Tensor } from "../../kernels/runtime/tensor.ts";
import { packSequences } from "../../kernels/sequences.ts";
import { swiglu } from "../../kernels/swiglu.ts";
import { Parameters } from "../../model/parameters.ts";
import { AdamW } from "../../train/optimizer.ts";
import {
  ADAMW,
  type BlockShape,
  HEAD_DIM,
  HEADS,
  initialBatch,
  initialValues,
  KV_HEADS,
  type Name,
  NAMES,
  NORM_EPS,
  ROPE_THETA,
  SHAPES,
  WIDTH,
} from "./block.ts";

/** A function that takes a step and returns its loss. */
export function glimpseStep(gpu: Gpu, shape: BlockShape): () => Promise<number> {
  const specs = NAMES.map((name) => {
    const shape: readonly number[] = SHAPES[name];
    return { name, shape, parts: [{ name, shape, initial: { constant: 0 } }] };
  });
  const parameters = new Parameters(gpu, specs, { train: () => "block" });
  for (const [name, values] of Object.entries(initialValues())) {
    gpu.write(parameters.get(name), values);
  }
  const optimizer = new AdamW(gpu, parameters.groups, { ...ADAMW, clip: Infinity });
  const { x: rows, targets } = initialBatch(shape);
  const x = gpu.tensor(rows, [targets.length, WIDTH]);
  const sequences = packSequences(gpu, Array(shape.sequences).fill(shape.length));
  const table = ropeTable(gpu, HEAD_DIM, shape.length, ROPE_THETA);
  const heads = { heads: HEADS, kvHeads: KV_HEADS, headDim: HEAD_DIM, causal: true };
  const w = (name: Name) => parameters.get(name);

  const forward = (): Tensor => {
    const qkv = linear(rmsNorm(x, w("norm1"), NORM_EPS), w("qkv"));
    const turned = rope(qkv, table, sequences.positions, heads);
    const h = linear(attention(turned, sequences, heads), w("out"), { residual: x });
    const gated = swiglu(linear(rmsNorm(h, w("norm2"), NORM_EPS), w("gateUp")));
    const y = rmsNorm(linear(gated, w("down"), { residual: h }), w("norm3"), NORM_EPS);
    return crossEntropy(y, w("head"), targets, { weight: 1 / targets.length });
  };
  return async () => {
    using _scope = gpu.scope();
    using tape = startTape(gpu);
    const loss = forward();
    using seed = optimizer.seed();
    tape.backward([loss], seed);
    optimizer.step({ block: ADAMW.rate });
    parameters.zeroGradients();
    return (await gpu.read(loss))[0]!;
  };
}
