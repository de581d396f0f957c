import { assert, assertEquals } from "@std/assert";
import { backward, startTape } from "../kernels/elementwise.ts";
import { linear } from "../kernels/matmul.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { packSequences } from "../kernels/sequences.ts";
import type { Parameters } from "../model/parameters.ts";
import type { Vlm } from "../model/vlm.ts";
import { AdamW } from "../train/optimizer.ts";
import { Trainer } from "../train/trainer.ts";
import {
  goldenBatch,
  type GoldenName,
  goldenRuns,
  goldenValues,
  goldenVlm,
} from "./support/golden.ts";
import { assertClose } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

const NAMES: GoldenName[] = ["dense", "yarn", "moe"];

type Values = Map<string, Float32Array<ArrayBuffer>>;

/** Features of the golden pictures' patches. */
function goldenFeatures(vlm: Vlm, expected: Values): Tensor {
  const pixels = vlm.gpu.tensor(expected.get("pixel_values")!, [2, 3, 224, 224]);
  return vlm.dropClassTokens(vlm.vision.forward(pixels));
}

/** The gradients of every tensor of a weight file. */
async function gradients(gpu: Gpu, parameters: Parameters): Promise<Values> {
  const found: Values = new Map();
  for (const { name, parts } of parameters.specs) {
    const { grad } = parameters.get(name);
    if (!grad) continue;
    const values = await gpu.read(grad);
    let start = 0;
    for (const part of parts) {
      const size = part.shape.reduce((a, b) => a * b, 1);
      found.set(part.name, values.subarray(start, start += size) as Float32Array<ArrayBuffer>);
    }
  }
  return found;
}

for (const name of NAMES) {
  gpuTest(`${name}: every forward value is the original's`, async (gpu) => {
    const before = gpu.memory.live;
    {
      using vlm = await goldenVlm(gpu, name);
      using _scope = gpu.scope();
      const expected = await goldenValues(name);
      const close = async (tensor: Tensor, key: string) =>
        assertClose(await gpu.read(tensor), expected.get(key)!, 1e-4, `${name} ${key}`);
      const pixels = gpu.tensor(expected.get("pixel_values")!, [2, 3, 224, 224]);
      const hidden = vlm.vision.forward(pixels);
      await close(hidden, "clip_last_hidden_state");
      await close(vlm.vision.pool(hidden), "clip_pooler_output");
      const features = vlm.dropClassTokens(hidden);
      await close(vlm.project(features), "vision_proj");
      const batch = goldenBatch(expected);
      const x = vlm.embed(batch.ids, batch.imageRows, features);
      const out = vlm.language.forward(x, packSequences(gpu, batch.lengths));
      await close(out, "hidden_eval");
      const logits = await gpu.read(linear(out, vlm.language.embedding));
      const tail = [0, 1].flatMap((row) =>
        Array.from(logits.subarray((row * 232 + 200) * 6400, (row + 1) * 232 * 6400))
      );
      assertClose(tail, expected.get("logits_eval")!, 1e-4, `${name} logits`);
    }
    assertEquals(gpu.memory.live, before, "bytes left in use");
  });

  gpuTest(`${name}: the loss and every gradient are the original's`, async (gpu) => {
    const before = gpu.memory.live;
    {
      using vlm = await goldenVlm(gpu, name, 0);
      using _scope = gpu.scope();
      const expected = await goldenValues(name);
      const batch = goldenBatch(expected);
      const features = goldenFeatures(vlm, expected);
      using tape = startTape(gpu);
      const { loss, auxLoss } = vlm.losses(batch, 1, features);
      assertClose(await gpu.read(loss), expected.get("loss")!, 1e-4, `${name} loss`);
      const aux = auxLoss ? await gpu.read(auxLoss) : [0];
      assertClose(aux, expected.get("aux_loss")!, 1e-4, `${name} aux_loss`);
      backward(tape, loss, ...auxLoss ? [auxLoss] : []);
      for (const [key, gradient] of await gradients(gpu, vlm.parameters)) {
        assertClose(gradient, expected.get(`grad.${key}`)!, 1e-3, `${name} grad.${key}`);
      }
    }
    assertEquals(gpu.memory.live, before, "bytes left in use");
  });

  for (const run of ["pretrain", "sft", "sft_accumulate"]) {
    gpuTest(`${name}: eight steps of ${run} are the original's`, async (gpu) => {
      const expected = await goldenValues(name);
      const { learning_rate, steps, accumulation_steps, grad_clip, freeze_llm, log } =
        (await goldenRuns(name))[run]!;
      using vlm = await goldenVlm(gpu, name, freeze_llm ? 1 : 0);
      using _scope = gpu.scope();
      const features = goldenFeatures(vlm, expected);
      using optimizer = new AdamW(gpu, [...vlm.parameters.groups], { clip: grad_clip });
      using trainer = new Trainer(vlm, optimizer, {
        epochs: 1,
        stepsPerEpoch: steps,
        learningRates: { projector: learning_rate, language: learning_rate },
        warmupSteps: 0,
        accumulationSteps: accumulation_steps,
        compat: true,
      });
      const batch = goldenBatch(expected);
      const updates = log.filter(({ step }) => (step + 1) % accumulation_steps === 0);
      const metrics = [];
      for (let step = 0; step < steps; step++) {
        metrics.push(...await trainer.step({ epoch: 0, step, batch, features }));
      }
      metrics.push(...await trainer.flush());
      assertEquals(metrics.length, updates.length);
      metrics.forEach(({ metrics: { loss, aux_loss, grad_norm, lr } }, i) => {
        const want = updates[i]!;
        const from = Math.max(0, want.step - accumulation_steps);
        const group = log.slice(from, want.step);
        const mean = group.reduce((sum, { loss }) => sum + loss, 0) / group.length;
        const aux = group.reduce((sum, { aux_loss }) => sum + aux_loss, 0) / group.length;
        assert(Math.abs(loss - mean) < 1e-3, `${run} step ${want.step}: loss ${loss}, not ${mean}`);
        assert(Math.abs(aux_loss - aux) < 1e-4, `${run} step ${want.step}: aux_loss ${aux_loss}`);
        assertClose([lr], [want.lr], 1e-9, `${run} step ${want.step}: lr`);
        assertClose([grad_norm], [want.grad_norm!], 2e-3, `${run} step ${want.step}: norm`);
      });
      if (run === "sft_accumulate") return;
      const weight = await gpu.read(vlm.parameters.get("vision_proj.vision_proj.0.weight"));
      const after = expected.get(`after_${run}.vision_proj.weight`)!;
      assertClose(weight, after, 1e-3, `${name} projection after ${run}`);
    });
  }
}
