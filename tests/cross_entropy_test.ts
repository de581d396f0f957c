import { assert, assertThrows } from "@std/assert";
import { startTape } from "../kernels/elementwise.ts";
import { crossEntropy, rowLosses } from "../kernels/cross_entropy.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import { assertClose, checkOperation } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";
import { everyPathTest } from "./support/paths.ts";
import { seeded } from "./support/seeded.ts";

function reference(hidden: Float64Array, head: Float64Array, targets: Uint32Array): number[] {
  const width = hidden.length / targets.length;
  return Array.from(targets, (target, row) => {
    const logits = Array.from({ length: head.length / width }, (_, token) => {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += hidden[row * width + i]! * head[token * width + i]!;
      return sum;
    });
    const top = Math.max(...logits);
    const sum = logits.reduce((s, logit) => s + Math.exp(logit - top), 0);
    return Math.log(sum) + top - logits[target]!;
  });
}

function draw(rows: number, vocabulary: number): Uint32Array<ArrayBuffer> {
  const random = seeded(`targets ${rows} ${vocabulary}`);
  return Uint32Array.from({ length: rows }, () => Math.floor(random.float() * vocabulary));
}

const CASES = [[1, 1, 2], [3, 17, 5], [65, 4, 64], [17, 63, 65], [130, 3, 17]];

for (const [rows = 0, width = 0, vocabulary = 0] of CASES) {
  const targets = draw(rows, vocabulary);
  const total = (losses: number[]): Float64Array =>
    Float64Array.of(losses.reduce((sum, loss) => sum + loss, 0) / rows);
  for (const differentiable of [[true, true], [true, false], [false, true], [false, false]]) {
    everyPathTest(
      `crossEntropy equals its float64 reference at [${rows}, ${width}] × ${vocabulary}, gradients ${differentiable}`,
      (gpu) =>
        checkOperation(gpu, {
          name: `crossEntropy ${rows}x${width}x${vocabulary}`,
          op: (hidden, head) =>
            crossEntropy(hidden!, head!, targets, { weight: 1 / rows, chunkRows: 64 }),
          reference: (hidden, head) => total(reference(hidden!, head!, targets)),
          shapes: [[rows, width], [vocabulary, width]],
          differentiable,
          samples: 17,
        }),
    );
  }
}

gpuTest("crossEntropy weighs rows, and rowLosses gives them", async (gpu) => {
  const targets = draw(65, 17);
  const random = seeded("weights");
  const weights = Float32Array.from(targets, () => random.float());
  await checkOperation(gpu, {
    name: "weighted rows",
    op: (hidden, head) => {
      const rowWeights = gpu.tensor(weights, [65]);
      return crossEntropy(hidden!, head!, targets, { weight: 0.5, rowWeights, chunkRows: 64 });
    },
    reference: (hidden, head) => {
      const losses = reference(hidden!, head!, targets);
      return Float64Array.of(losses.reduce((sum, loss, i) => sum + 0.5 * weights[i]! * loss, 0));
    },
    shapes: [[65, 8], [17, 8]],
  });
  await checkOperation(gpu, {
    name: "row losses",
    op: (hidden, head) => rowLosses(hidden!, head!, targets),
    reference: (hidden, head) => Float64Array.from(reference(hidden!, head!, targets)),
    shapes: [[65, 8], [17, 8]],
    differentiable: [false, false],
  });
});

gpuTest("crossEntropy takes large logits and adds to a filled gradient", async (gpu) => {
  using _scope = gpu.scope();
  const hidden = gpu.tensor(Float32Array.of(1e4, -1e4), [2, 1]);
  const head = gpu.tensor(Float32Array.of(1, 0), [2, 1]);
  head.requiresGrad = true;
  head.grad = gpu.tensor(Float32Array.of(5, 7), [2, 1]);
  head.gradFilled = true;
  using tape = startTape(gpu);
  const loss = crossEntropy(hidden, head, Uint32Array.of(1, 1), { weight: 0.5 });
  assertClose(await gpu.read(loss), [5000], 1e-6, "loss");
  tape.backward([loss], gpu.tensor(Float32Array.of(2), [1]));
  assertClose(await gpu.read(head.grad), [5 + 1e4, 7 - 1e4], 1e-6, "gradient");
});

gpuTest("no more logits exist than a chunk's", (gpu) => {
  using _scope = gpu.scope();
  const [hidden, head] = [gpu.zeros([4096, 4]), gpu.zeros([6400, 4])];
  gpu.resetPeak();
  const before = gpu.memory.live;
  crossEntropy(hidden, head, new Uint32Array(4096));
  assert(gpu.memory.peak - before < 40 * 2 ** 20, `${gpu.memory.peak - before} bytes`);
  return Promise.resolve();
});

gpuTest("crossEntropy names targets and shapes that do not fit", (gpu) => {
  using _scope = gpu.scope();
  const [hidden, head] = [gpu.zeros([2, 4]), gpu.zeros([3, 4])];
  const refused = (targets: number[], message: string) =>
    assertThrows(() => crossEntropy(hidden, head, Uint32Array.from(targets)), ShapeError, message);
  refused([0, 3], "Target 1 is 3");
  refused([0], "1 targets");
  return Promise.resolve();
});
