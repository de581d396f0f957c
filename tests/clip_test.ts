import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { backward, startTape } from "../kernels/elementwise.ts";
import { DataError, FormatError, ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { type Batch, packPairs } from "../model/batch.ts";
import { bytesSource } from "../model/bytes.ts";
import { Clip } from "../model/clip.ts";
import { clipConfig } from "../model/clip_config.ts";
import { toFloat32 } from "../model/host_tensor.ts";
import { planClip } from "../model/load_clip.ts";
import { matchWeights } from "../model/load_weights.ts";
import type { ModelFiles } from "../model/model_files.ts";
import { readSafetensors } from "../model/safetensors.ts";
import { clipTrainPolicy, UNDECAYED } from "../train/freeze.ts";
import { AdamW } from "../train/optimizer.ts";
import { retrieval } from "../train/retrieval.ts";
import { Trainer } from "../train/trainer.ts";
import { assertClose } from "./support/gradient_check.ts";
import { gpuTest } from "./support/gpu.ts";

const FOLDER = new URL("fixtures/clip/", import.meta.url);

async function open(name: string) {
  return await readSafetensors(bytesSource(name, await Deno.readFile(new URL(name, FOLDER))));
}

/** The model whose values transformers computed; see `fixtures/clip/oracle.py`. */
async function goldenClip(
  gpu: Gpu,
  options: { microBatch?: number; freezeVision?: boolean; precision?: Precision } = {},
): Promise<Clip> {
  const config = clipConfig(
    JSON.parse(await Deno.readTextFile(new URL("config.json", FOLDER))),
  );
  const clip = new Clip(gpu, config, {
    imageMean: [0.4, 0.5, 0.6],
    imageStd: [0.2, 0.25, 0.3],
    train: clipTrainPolicy(options.freezeVision ?? false),
    ...options,
  });
  const weights = await open("model.safetensors");
  await clip.parameters.load(
    matchWeights(clip.parameters.expected(), weights, { source: "model.safetensors" }),
    "model.safetensors",
  );
  return clip;
}

interface Expected {
  batch: Batch;
  values: Map<string, Float32Array<ArrayBuffer>>;
}

async function expectedOf(): Promise<Expected> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  const numbers = new Map<string, number[]>();
  let pictures = new Uint8Array();
  for (const [name, tensor] of (await open("expected.safetensors")).tensors) {
    const bytes = await tensor.read();
    if (name === "pictures") pictures = bytes;
    else if (name === "ids" || name === "lengths") {
      numbers.set(name, [...new BigInt64Array(bytes.slice().buffer)].map(Number));
    } else values.set(name, toFloat32(bytes, tensor.dtype));
  }
  const [ids, lengths] = [numbers.get("ids")!, numbers.get("lengths")!];
  const size = pictures.length / lengths.length;
  const batch = packPairs(lengths.map((length, index) => ({
    index,
    ids: Uint32Array.from(ids.splice(0, length)),
    mask: new Uint8Array(length),
    pictureStarts: [],
    pictures: [pictures.slice(index * size, (index + 1) * size)],
  })));
  return { batch, values };
}

gpuTest("pictures and texts have transformers' vectors", async (gpu) => {
  const before = gpu.memory.live;
  const { batch, values } = await expectedOf();
  {
    using clip = await goldenClip(gpu);
    using _scope = gpu.scope();
    const images = await gpu.read(clip.encodePictures(batch.pictures, batch.pictureCount));
    assertClose(images, values.get("images")!, 1e-5, "images");
    const texts = await gpu.read(clip.encodeTexts(batch.ids, batch.lengths));
    assertClose(texts, values.get("texts")!, 1e-5, "texts");
    assertThrows(
      () => clip.encodeTexts(new Uint32Array(10), [10]),
      ShapeError,
      "10 tokens, but the tower has 9",
    );
  }
  assertEquals(gpu.memory.live, before, "bytes left in use");
});

for (const microBatch of [undefined, 2]) {
  const how = microBatch ? `, ${microBatch} pairs at a time` : "";
  gpuTest(`loss and every gradient are transformers'${how}`, async (gpu) => {
    const before = gpu.memory.live;
    const { batch, values } = await expectedOf();
    {
      using clip = await goldenClip(gpu, { ...microBatch && { microBatch } });
      using _scope = gpu.scope();
      using tape = startTape(gpu);
      const { loss } = clip.losses(batch, 1);
      assertClose(await gpu.read(loss), values.get("loss")!, 1e-5, "loss");
      backward(tape, loss);
      for (const { name, parts } of clip.parameters.specs) {
        const gradient = await gpu.read(clip.parameters.get(name).grad!);
        const all = parts.flatMap((part) => [...values.get(`grad.${part.name}`)!]);
        // keys' biases move all scores alike: their gradient is nothing but rounding
        const real = name.endsWith("qkv_proj.bias")
          ? (_: number, i: number) => Math.floor(3 * i / all.length) !== 1
          : () => true;
        assertClose([...gradient].filter(real), all.filter(real), 1e-4, `gradient of ${name}`);
      }
    }
    assertEquals(gpu.memory.live, before, "bytes left in use");
  });

  gpuTest(`eight updates are PyTorch's, the temperature held back${how}`, async (gpu) => {
    const { batch, values } = await expectedOf();
    using clip = await goldenClip(gpu, { ...microBatch && { microBatch } });
    const scale = clip.parameters.get("logit_scale");
    gpu.write(scale, Float32Array.of(4.7));
    using optimizer = new AdamW(gpu, clip.groups, {
      clip: 1,
      beta2: 0.98,
      eps: 1e-6,
      weightDecay: 0.2,
      undecayed: new Set([UNDECAYED]),
    });
    const rate = 5e-3 / 1.1; // the cosine begins above the rate, and stays there in so long a run
    using trainer = new Trainer(clip, optimizer, {
      epochs: 1e9,
      stepsPerEpoch: 1,
      learningRates: { decayed: rate, undecayed: rate },
      warmupSteps: 0,
      accumulationSteps: 1,
      compat: false,
    });
    const losses: number[] = [], scales: number[] = [];
    for (let epoch = 0; epoch < 8; epoch++) {
      const updates = await trainer.step({ epoch, step: 0, batch });
      losses.push(...[...updates, ...await trainer.flush()].map(({ metrics }) => metrics.loss));
      scales.push((await gpu.read(scale))[0]!);
    }
    assertClose(losses, values.get("losses")!, 1e-3, "losses");
    assertClose(scales, values.get("scales")!, 1e-5, "logit scales");
  });
}

gpuTest("retrieval ranks what belongs together among all pairs", async (gpu) => {
  const before = gpu.memory.live;
  const { batch, values } = await expectedOf();
  {
    using clip = await goldenClip(gpu);
    const again = { epoch: 0, skipped: 0, batch };
    const loader = {
      async *batches() {
        yield { ...again, step: 0 };
        yield { ...again, step: 1 };
      },
    };
    const [images, texts] = [values.get("images")!, values.get("texts")!];
    const n = batch.lengths.length, width = images.length / n;
    const likeness = (i: number, t: number) =>
      images.subarray(i * width, (i + 1) * width)
        .reduce((sum, x, d) => sum + x * texts[t * width + d]!, 0);
    // each picture is there twice, and each text counts once
    const share = (k: number, row: (own: number) => number[], twice = 1) => {
      const all = Array.from({ length: n }, (_, i) => row(i));
      return all.filter((r, i) => twice * r.filter((x) => x > r[i]!).length < k).length / n;
    };
    const numbers = Array.from({ length: n }, (_, i) => i);
    const ofImage = (i: number) => numbers.map((t) => likeness(i, t));
    const ofText = (t: number) => numbers.map((i) => likeness(i, t));
    const { val_loss, ...recall } = await retrieval(clip, loader);
    assertClose([val_loss], values.get("loss")!, 1e-5, "loss");
    assertEquals(recall, {
      image_to_text_r1: share(1, ofImage),
      image_to_text_r5: share(5, ofImage),
      text_to_image_r1: share(1, ofText, 2),
      text_to_image_r5: share(5, ofText, 2),
      images: 2 * n,
      texts: n,
    });
    const projection = clip.parameters.get("visual_projection.weight");
    gpu.write(projection, new Float32Array(projection.size).fill(NaN));
    assertEquals((await retrieval(clip, loader)).image_to_text_r1, 0);
    await assertRejects(
      () => retrieval(clip, { async *batches() {} }),
      DataError,
      "None of the pairs",
    );
  }
  assertEquals(gpu.memory.live, before, "bytes left in use");
});

Deno.test("a folder's text tower without a vocab_size is CLIP's own; pictures have an even side", async () => {
  const planOf = async (config: Record<string, unknown>) => {
    const files = {
      read: (path: string) =>
        Promise.resolve(
          path === "clip/config.json"
            ? new TextEncoder().encode(JSON.stringify(config))
            : undefined,
        ),
    } as ModelFiles;
    return await planClip(files, "clip", 520, { vision: {}, text: {} });
  };
  assert(!(await planOf({ text_config: {} })).sameTokens);
  assert((await planOf({ text_config: { vocab_size: 520 } })).sameTokens);
  const odd = { vision_config: { image_size: 21, patch_size: 7 } };
  await assertRejects(() => planOf(odd), FormatError, "21 is odd");
});

gpuTest("a frozen tower gets no gradient, the other one does", async (gpu) => {
  const { batch, values } = await expectedOf();
  using clip = await goldenClip(gpu, { freezeVision: true, microBatch: 2 });
  using _scope = gpu.scope();
  using tape = startTape(gpu);
  backward(tape, clip.losses(batch, 1).loss);
  assertEquals(clip.parameters.get("vision_model.post_layernorm.weight").grad, undefined);
  for (const name of ["text_model.final_layer_norm.weight", "visual_projection.weight"]) {
    const gradient = await gpu.read(clip.parameters.get(name).grad!);
    assertClose(gradient, values.get(`grad.${name}`)!, 1e-4, name);
  }
});
