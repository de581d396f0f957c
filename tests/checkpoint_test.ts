import { assert, assertEquals } from "@std/assert";
import { checkpoint } from "../kernels/checkpoint.ts";
import { add, backward, scale, startTape } from "../kernels/elementwise.ts";
import { sum } from "../kernels/reduce.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { swiglu } from "../kernels/swiglu.ts";
import { packSamples } from "../model/batch.ts";
import { clipVisionConfig, miniMindConfig } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { Vlm } from "../model/vlm.ts";
import { type Freeze, trainPolicy } from "../train/freeze.ts";
import { gpuTest } from "./support/gpu.ts";

const VISION = {
  hidden_size: 64,
  intermediate_size: 256,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  image_size: 112,
  patch_size: 16,
};
const PATCHES = 49;
const NORMALIZATION = { imageMean: [0.5, 0.5, 0.5], imageStd: [0.3, 0.3, 0.3] } as const;

function batch() {
  const random = new Random(7);
  const length = 90;
  return packSamples(
    [0, 1].map((index) => ({
      index,
      ids: Uint32Array.from(
        { length },
        (_, i) => i < PATCHES ? 34 : 100 + Math.floor(700 * i / 90),
      ),
      mask: Uint8Array.from({ length }, (_, i) => Number(i > 60)),
      pictureStarts: [0],
      pictures: [Uint8Array.from({ length: 3 * 112 * 112 }, () => 256 * random.float())],
    })),
    PATCHES,
  );
}

interface Step {
  readonly losses: number[];
  readonly gradients: Uint8Array[];
  readonly peak: number;
}

/** A forward and backward pass of a small model. */
async function step(gpu: Gpu, recomputes: boolean, freeze: Freeze, moe: boolean): Promise<Step> {
  const language = miniMindConfig({
    hidden_size: 64,
    num_hidden_layers: 6,
    vocab_size: 800,
    max_position_embeddings: 128,
    use_moe: moe,
  });
  const config = { language, vision: clipVisionConfig(VISION), ...NORMALIZATION };
  using vlm = new Vlm(gpu, config, trainPolicy(freeze, 6, freeze > 0));
  vlm.parameters.initialize(new Random(1));
  vlm.visionParameters.initialize(new Random(2));
  const before = gpu.memory.live;
  gpu.resetPeak();
  using _scope = gpu.scope();
  const losses: Tensor[] = [];
  {
    using scope = gpu.scope();
    using tape = startTape(gpu, recomputes);
    const { loss, auxLoss } = vlm.losses(batch(), 1);
    losses.push(...[loss, auxLoss].filter((part) => part !== undefined).map((t) => scope.keep(t)));
    backward(tape, ...losses);
  }
  const { peak } = gpu.memory;
  const parts = (await gpu.readAll(losses)).map((bytes) => new Float32Array(bytes)[0]!);
  const gradients = await gpu.readAll(vlm.groups.map((group) => group.gradients));
  for (const loss of losses) loss.dispose();
  assertEquals(gpu.memory.live, before, "bytes left in use");
  return {
    losses: parts,
    gradients: gradients.map((bytes) => new Uint8Array(bytes)),
    peak: peak - before,
  };
}

for (const [freeze, moe] of [[0, false], [1, false], [0, true]] as const) {
  const what = `${moe ? "experts" : "dense"}, --freeze_llm ${freeze}`;
  gpuTest(
    `${what}: blocks that are computed again give the same bits in less memory`,
    async (gpu) => {
      const kept = await step(gpu, false, freeze, moe);
      const again = await step(gpu, true, freeze, moe);
      assertEquals(again.losses, kept.losses);
      assertEquals(again.gradients, kept.gradients);
      assert(again.gradients.some((bytes) => bytes.some((byte) => byte > 0)));
      assert(again.peak < 0.6 * kept.peak, `${again.peak} bytes at most, ${kept.peak} without`);
    },
  );
}

gpuTest("a part with several outputs and some without gradient", async (gpu) => {
  using _scope = gpu.scope();
  const x = gpu.tensor(Float32Array.of(1, 2), [2]);
  x.requiresGrad = true;
  x.grad = gpu.zeros([2]);
  let runs = 0;
  using tape = startTape(gpu, true);
  const [a, b] = checkpoint(gpu, [x], () => {
    runs++;
    return [scale(swiglu(x), 2), scale(x, 3), scale(x, 5)] as const;
  });
  const frozen = gpu.zeros([2]);
  const [still] = checkpoint(gpu, [frozen], () => [scale(frozen, 2)] as const);
  assertEquals([tape.length, still.requiresGrad], [1, false]);
  const loss = sum(add(b, b));
  using seed = gpu.tensor(Float32Array.of(1), [1]);
  const whole = [...tape.play([loss], seed)].map((parameter) => {
    assert(parameter.gradFilled);
    return parameter;
  });
  assertEquals(whole, [x]);
  assertEquals([...await gpu.read(x.grad)], [6, 6]);
  assertEquals([runs, a.requiresGrad], [2, true]);
});
