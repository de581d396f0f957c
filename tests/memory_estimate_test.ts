import { assert, assertThrows } from "@std/assert";
import { backward, startTape } from "../kernels/elementwise.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import type { Sample } from "../model/batch.ts";
import { packSamples } from "../model/batch.ts";
import { clipVisionConfig, miniMindConfig } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { Vlm } from "../model/vlm.ts";
import { trainPolicy } from "../train/freeze.ts";
import { checkMemory, estimateMemory } from "../train/memory_estimate.ts";
import { AdamW } from "../train/optimizer.ts";
import { gpuTest } from "./support/gpu.ts";

const SHAPE = { samples: 3, length: 300 };

/** Full samples: a picture, and something to learn in every row after it. */
function samples(): Sample[] {
  return Array.from({ length: SHAPE.samples }, (_, index) => ({
    index,
    ids: Uint32Array.from({ length: SHAPE.length + 1 }, (_, i) => i < 196 ? 34 : 300 + i),
    mask: Uint8Array.from({ length: SHAPE.length + 1 }, (_, i) => Number(i > 200)),
    pictureStarts: [0],
    pictures: [new Uint8Array(3 * 224 * 224).fill(90)],
  }));
}

for (const [freeze, checkpointActivations] of [[0, false], [1, false], [0, true]] as const) {
  const flags = `--freeze_llm ${freeze} --checkpoint_activations ${Number(checkpointActivations)}`;
  gpuTest(
    `the memory estimated for ${flags} is near what a step takes`,
    async (gpu) => {
      const language = miniMindConfig({ hidden_size: 64, num_hidden_layers: 6, vocab_size: 800 });
      const vision = clipVisionConfig({
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        patch_size: 16,
      });
      const normalization = { imageMean: [0.5, 0.5, 0.5], imageStd: [0.3, 0.3, 0.3] } as const;
      const shape = { ...SHAPE, checkpointActivations };
      const before = gpu.memory.live;
      using vlm = new Vlm(gpu, { language, vision, ...normalization }, trainPolicy(freeze, 6));
      vlm.parameters.initialize(new Random(1));
      vlm.visionParameters.initialize(new Random(2));
      using optimizer = new AdamW(gpu, vlm.parameters.groups, { clip: 1 });
      const held = gpu.memory.live - before;
      gpu.resetPeak();
      const batch = packSamples(samples(), 196);
      {
        using _scope = gpu.scope();
        using tape = startTape(gpu, checkpointActivations);
        backward(tape, vlm.losses(batch, 1).loss);
        optimizer.step({ projector: 1e-3, language: 1e-3 });
        await gpu.wait();
      }
      const took = gpu.memory.peak - before - held;
      const { parameters, step } = estimateMemory(vlm, shape);
      const ropeTable = 4 * language.max_position_embeddings * 8;
      assert(
        Math.abs((held - ropeTable) / parameters - 1) < 0.3,
        `${held} bytes held, ${parameters} estimated`,
      );
      assert(step > 0.7 * took && step < 2 * took, `${took} bytes taken, ${step} estimated`);
      checkMemory(vlm, shape, 2 * (parameters + step));
      assertThrows(
        () => checkMemory(vlm, shape, parameters + step - 1),
        UsageError,
        "--batch_size 2",
      );
    },
  );
}
