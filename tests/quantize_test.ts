import { assert, assertEquals } from "@std/assert";
import { embedding } from "../kernels/embedding.ts";
import { type GroupedFamily, groupedProduct } from "../kernels/experts/product.ts";
import { routeTokens } from "../kernels/experts.ts";
import { makeImage } from "../kernels/matmul/image.ts";
import { type Choice, linear, product } from "../kernels/matmul.ts";
import { rmsNorm } from "../kernels/rms_norm.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Dtype, Tensor } from "../kernels/runtime/tensor.ts";
import { softmax } from "../kernels/softmax.ts";
import { swiglu } from "../kernels/swiglu.ts";
import { miniMindConfig } from "../model/config.ts";
import { Decoder } from "../model/decoder.ts";
import { fromFloat32, toFloat32 } from "../model/host_tensor.ts";
import { BLOCK, dequantize, quantize } from "../model/quantize.ts";
import { Random } from "../model/random.ts";
import { Vlm } from "../model/vlm.ts";
import { ACTIVATIONS } from "./support/activations.ts";
import { assertClose } from "./support/gradient_check.ts";
import { goldenVlm } from "./support/golden.ts";
import { gpuTest } from "./support/gpu.ts";
import { everyPathTest } from "./support/paths.ts";
import { productReference } from "./support/product_reference.ts";
import { seeded } from "./support/seeded.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";
import { textBatch, train } from "./support/text_training.ts";

type Numbers = Float32Array<ArrayBuffer>;

function draw(name: string, size: number): Numbers {
  const { normal } = seeded(name);
  return Float32Array.from({ length: size }, normal);
}

/** A weight of some kind on the device, and the numbers that it stands for. */
function weightOf(
  gpu: Gpu,
  values: Numbers,
  shape: readonly number[],
  dtype: Dtype,
): [Tensor, Numbers] {
  const tensor = gpu.empty(shape, dtype);
  if (dtype === "q8") {
    const words = quantize(values);
    gpu.write(tensor, words);
    return [tensor, dequantize(words)];
  }
  if (dtype !== "float16" && dtype !== "bfloat16") {
    gpu.write(tensor, values);
    return [tensor, values];
  }
  const bytes = fromFloat32(values, dtype);
  gpu.write(tensor, new Uint16Array(bytes.buffer, bytes.byteOffset, values.length));
  return [tensor, toFloat32(bytes, dtype)];
}

Deno.test("8 bits are within half a step of each number, and keep the largest of a block", () => {
  const values = draw("blocks", 6 * BLOCK).map((v, i) => v * 10 ** (Math.floor(i / BLOCK) * 3 - 6));
  values.fill(0, 2 * BLOCK, 3 * BLOCK);
  const back = dequantize(quantize(values));
  for (let block = 0; block < 6; block++) {
    const own = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    const most = own.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    own.forEach((v, i) => {
      const error = Math.abs(back[block * BLOCK + i]! - v);
      assert(error <= most / 127 * 0.5001, `${v} became ${back[block * BLOCK + i]}`);
      if (Math.abs(v) === most) assert(error <= most * 1e-6);
    });
  }
  assertEquals([...dequantize(quantize(back))], [...back], "numbers of 8 bits are kept");
});

const CHOICES: readonly [Choice, readonly [number, number, number][]][] = [
  [{ family: "small" }, [[3, 17, 32], [33, 20, 96]]],
  [{ family: "gemv" }, [[1, 1, 32], [3, 5, 96], [8, 257, 160]]],
  [{ family: "tiled", tile: 32 }, [[65, 63, 96]]],
  [{ family: "tiled", tile: 64, slices: 2 }, [[70, 68, 288]]],
  [{ family: "software" }, [[40, 36, 96], [260, 32, 160]]],
];

for (const [choice, sizes] of CHOICES) {
  gpuTest(`a product by ${JSON.stringify(choice)} with 8 bits equals float64`, async (gpu) => {
    if (choice.family === "software" && gpu.info.subgroupSize !== 8) return;
    for (const [m, n, k] of sizes) {
      using _scope = gpu.scope();
      const a = draw("a", m * k);
      const [b, exact] = weightOf(gpu, draw("b", n * k), [n, k], "q8");
      const out = gpu.empty([m, n]);
      product("NT", gpu.tensor(a, [m, k]), b, out, { m, n, k }, choice);
      const expected = productReference("NT", a, exact, [m, n, k]);
      assertClose(await gpu.read(out), expected, 1e-6, `${m} × ${n} × ${k}`);
    }
  });
}

for (const dtype of ["float32", "float16", "bfloat16", "q8"] as const) {
  gpuTest(
    `a product with an image of ${dtype} equals float64, whatever it is made from`,
    async (gpu) => {
      if (!gpu.info.software || gpu.info.subgroupSize !== 8) return;
      using odds = gpu.tensor(draw("odd", 5 * 32), [5, 32]);
      assertEquals(makeImage(odds), undefined); // columns are stored by fours
      const half = dtype === "float16" || dtype === "bfloat16";
      const odd = dtype === "q8"
        ? [[1, 4, 32], [5, 68, 96], [11, 132, 160], [19, 36, 288]]
        : [[1, 4, 4], [5, 68, 20], [11, 132, 132], [19, 36, 36], [2, 12, 12], [1030, 8, 8]];
      for (const [m, n, k] of odd as [number, number, number][]) {
        const before = gpu.memory.live;
        {
          using _scope = gpu.scope();
          const rounded = (values: Numbers) =>
            half ? toFloat32(fromFloat32(values, dtype), dtype) : values;
          const [b, exact] = weightOf(gpu, draw("b", n * k), [n, k], dtype);
          b.image = makeImage(b);
          assert(b.image);
          const [bias, residual] = [draw("bias", n), draw("residual", m * n)];
          const added = { bias: gpu.tensor(bias, [n]), residual: gpu.tensor(residual, [m, n]) };
          const gain = gpu.tensor(draw("gain", k), [k]);
          for (const from of [undefined, { gain, eps: 1e-5 }, "swiglu"] as const) {
            const width = from === "swiglu" ? 2 * k : k;
            const x = gpu.tensor(draw("x", m * width), [m, width]);
            const made = from === "swiglu" ? swiglu(x) : from ? rmsNorm(x, gain, 1e-5) : x;
            const host = rounded(await gpu.read(made));
            const expected = productReference("NT", host, exact, [m, n, k])
              .map((v, i) => v + bias[i % n]! + residual[i]!);
            const activated = linear(x, b, { ...added, from, activation: "quick_gelu" });
            const y = linear(x, b, { ...added, from });
            // a number between two halves may be rounded either way after a last bit that differs
            const [tolerance, name] = [half && from ? 1e-3 : 1e-6, `${m} × ${n} × ${k}`];
            assertClose(await gpu.read(y), expected, tolerance, name);
            const last = expected.map(ACTIVATIONS.quick_gelu);
            assertClose(await gpu.read(activated), last, tolerance, `${name} activated`);
            if (from) continue;
            product("NT", x, b, y, { m, n, k, accumulate: true, ...added });
            const twice = expected.map((v) => 2 * v);
            assertClose(await gpu.read(y), twice, 1e-6, `${name} added`);
          }
          b.image.destroy();
        }
        assertEquals(gpu.memory.live, before, "bytes left in use");
      }
    },
  );
}

gpuTest(
  "where nothing joins, a norm and a gate before a layer are what they are by themselves",
  async (gpu) => {
    using _scope = gpu.scope();
    const x = gpu.tensor(draw("x", 3 * 32), [3, 32]);
    const gain = gpu.tensor(draw("gain", 32), [32]);
    const [wide, narrow] = [
      gpu.tensor(draw("w", 160), [5, 32]),
      gpu.tensor(draw("v", 80), [5, 16]),
    ];
    const normed = linear(x, wide, { from: { gain, eps: 1e-5 } });
    assertEquals(await gpu.read(normed), await gpu.read(linear(rmsNorm(x, gain, 1e-5), wide)));
    const gated = linear(x, narrow, { from: "swiglu" });
    assertEquals(await gpu.read(gated), await gpu.read(linear(swiglu(x), narrow)));
  },
);

everyPathTest("rows of a table in 8 bits are looked up", async (gpu) => {
  using _scope = gpu.scope();
  const [table, exact] = weightOf(gpu, draw("table", 9 * 64), [9, 64], "q8");
  const y = embedding(table, gpu.tensor(new Uint32Array([8, 0, 3]), [3]));
  const expected = [8, 0, 3].flatMap((id) => [...exact.subarray(id * 64, (id + 1) * 64)]);
  assertEquals([...await gpu.read(y)], expected);
});

for (const family of ["gemv", "small", "tiled", "software"] as GroupedFamily[]) {
  gpuTest(`experts' products by "${family}" read 8 bits`, async (gpu) => {
    if (family === "software" && gpu.info.subgroupSize !== 8) return;
    const [experts, n, k] = [4, 36, 96], tokens = family === "gemv" ? 3 : 130;
    using _scope = gpu.scope();
    const scores = softmax(gpu.tensor(draw("scores", tokens * experts), [tokens, experts]));
    const routing = routeTokens(scores, { choices: 1, normalize: true });
    const rows = routing.tile * routing.tiles;
    if (family !== "gemv" && routing.tile === 1) return;
    const a = gpu.tensor(draw("a", rows * k), [rows, k]);
    const [b, exact] = weightOf(gpu, draw("b", experts * n * k), [experts * n, k], "q8");
    const [out, expected] = [gpu.zeros([rows, n]), gpu.zeros([rows, n])];
    groupedProduct("NT", a, b, out, routing, false, "float32", family);
    const floats = gpu.tensor(exact, [experts * n, k]);
    groupedProduct("NT", a, floats, expected, routing, false, "float32", family);
    assertClose(await gpu.read(out), await gpu.read(expected), 1e-6, family);
  });
}

for (const dtype of ["float32", "float16", "bfloat16", "q8"] as const) {
  gpuTest(`experts' products with an image of ${dtype} equal float64`, async (gpu) => {
    if (!gpu.info.software || gpu.info.subgroupSize !== 8) return;
    const experts = 3, before = gpu.memory.live;
    for (
      const [tokens, n, k, tile, isKnown] of [
        ...[[3, 32, 32, 1, true], [6, 32, 32, dtype === "float32" ? 8 : 1, true]],
        ...[[13, 96, 160, 8, true], [130, 32, 64, 32, true]],
        ...[[32, 96, 160, 1, false], [40, 64, 96, 64, false], [390, 32, 32, 128, false]],
        ...[[7, 36, 32, 1, true], [40, 36, 32, 64, true]], // of 36 columns no expert's blocks are whole
      ] as const
    ) {
      using _scope = gpu.scope();
      const scores = softmax(gpu.tensor(draw("scores", tokens * experts), [tokens, experts]));
      const [b, exact] = weightOf(gpu, draw("b", experts * n * k), [experts * n, k], dtype);
      const image = makeImage(b);
      assert(image);
      // where blocks are whole the image alone is read
      const read = n % 32 === 0 ? gpu.zeros(b.shape, dtype) : b;
      read.image = image;
      const matrices = isKnown ? [read] : undefined;
      const routing = routeTokens(scores, { choices: 1, normalize: true, matrices });
      assertEquals(routing.tile, tile);
      const rows = tile * routing.tiles;
      const values = draw("a", rows * k);
      const a = gpu.tensor(values, [rows, k]), out = gpu.zeros([rows, n]);
      groupedProduct("NT", a, read, out, routing);
      const host = dtype === "float16" || dtype === "bfloat16"
        ? toFloat32(fromFloat32(values, dtype), dtype)
        : values;
      const tiles = [...await gpu.readUint32(routing.tileExperts)].filter((e) => e < experts);
      const expected = tiles.flatMap((e, i) => [
        ...productReference(
          "NT",
          host.subarray(i * tile * k),
          exact.subarray(e * n * k),
          [tile, n, k],
        ),
      ]);
      const found = (await gpu.read(out)).subarray(0, expected.length);
      assertClose(found, expected, 1e-6, `${tokens} tokens, ${n} × ${k}`);
      image.destroy();
    }
    assertEquals(gpu.memory.live, before, "bytes left in use");
  });
}

/** The golden model with other weights, for answering, in 8 bits or not. */
async function answering(gpu: Gpu, like: Vlm, quantization?: "q8"): Promise<Vlm> {
  const vlm = new Vlm(gpu, like.config, undefined, undefined, quantization);
  for (
    const [to, from] of [[vlm.parameters, like.parameters], [
      vlm.visionParameters,
      like.visionParameters,
    ]] as const
  ) {
    await to.load(new Map([...from.tensors()].map((tensor) => [tensor.name, tensor])), "like");
  }
  return vlm;
}

for (const name of ["dense", "moe"] as const) {
  gpuTest(
    `${name} in 8 bits loses less than 1% of what a trained model has learnt`,
    async (gpu) => {
      const before = gpu.memory.live;
      {
        using learner = await goldenVlm(gpu, name, 0);
        const batches = Array.from({ length: 40 }, (_, i) => textBatch(`text ${i}`, 4, 33, 0.3));
        const [first] = await train(learner, batches, { rate: 3e-3, steps: 40 }, "float32");
        using full = await answering(gpu, learner);
        using small = await answering(gpu, learner, "q8");
        // the same numbers as the small model's, in float32
        using rounded = await answering(gpu, small);

        const unseen = textBatch("unseen", 8, 33, 0.3);
        const losses = async (vlm: Vlm) => {
          using rows = gpu.detached(() => vlm.rowLosses(unseen));
          return await gpu.read(rows);
        };
        const [expected, found, same] = [
          await losses(full),
          await losses(small),
          await losses(rounded),
        ];
        const mean = (values: Float32Array) => values.reduce((a, b) => a + b) / values.length;
        assert(mean(expected) < 0.8 * first!.loss, "nothing was learnt");
        const off = Math.abs(mean(found) / mean(expected) - 1);
        assert(off < 0.01, `the loss is ${100 * off}% off`);
        assert(found.some((loss, i) => loss !== expected[i]), "nothing was rounded");
        assertClose(found, same, 1e-5, "losses of the numbers that 8 bits stand for");

        const say = async (vlm: Vlm) => {
          using decoder = new Decoder(vlm, 64);
          decoder.read({
            ids: unseen.ids.slice(0, 16),
            imageRows: new Uint32Array(),
            pictureCount: 0,
          });
          return await Array.fromAsync(
            decoder.generate({
              maxNewTokens: 24,
              temperature: 0,
              stopIds: [],
              random: new Random(1),
            }),
          );
        };
        assertEquals(
          await say(small),
          await say(rounded),
          "tokens of the numbers that 8 bits stand for",
        );
      }
      assertEquals(gpu.memory.live, before, "bytes left in use");
    },
  );
}

gpuTest("weights in 8 bits take 1⅛ bytes each, and no float32 is kept beside", async (gpu) => {
  const config = {
    language: miniMindConfig({ hidden_size: 128, num_hidden_layers: 2, vocab_size: 500 }),
    imageMean: [0, 0, 0] as const,
    imageStd: [1, 1, 1] as const,
  };
  const live = async (quantization?: "q8") => {
    const before = gpu.memory.live;
    using vlm = new Vlm(gpu, config, undefined, undefined, quantization);
    vlm.parameters.initialize(new Random(1));
    await gpu.wait();
    const norms = vlm.parameters.specs.filter(({ operand }) => !operand);
    const kept = norms.reduce((sum, { shape }) => sum + 4 * shape[0]!, 0);
    return [gpu.memory.live - before, kept, vlm.parameters.count] as const;
  };
  const [full, norms, count] = await live();
  const [small] = await live("q8");
  const saved = (count - norms / 4) * (4 - 36 / 32);
  const off = Math.abs((full - small) / saved - 1); // storages are rounded up
  assert(off < 0.02, `${full - small} bytes were saved, not ${saved}`);
});

gpuTest(
  "an answer takes a submit a token at most, a readback for several, and few dispatches",
  async (gpu) => {
    using vlm = await goldenVlm(gpu, "dense");
    using decoder = new Decoder(vlm, 128);
    decoder.read({
      ids: Uint32Array.of(1, 320, 275),
      imageRows: new Uint32Array(),
      pictureCount: 0,
    });
    const options = { maxNewTokens: 63, temperature: 0, stopIds: [], random: new Random(1) };
    const before = { ...gpu.counts };
    assertEquals((await Array.fromAsync(decoder.generate(options))).length, 63);
    const done = (key: "submits" | "readbacks" | "dispatches") => gpu.counts[key] - before[key];
    assertEquals(done("readbacks"), 7); // of 1, 2, 4, 8, 16, 16 and 16 tokens
    assert(done("submits") <= 63 + 7, `${done("submits")} submits`);
    if (!gpu.info.software) return;
    const layers = vlm.config.language.num_hidden_layers;
    const most = 63 * (6 * layers + 6);
    assert(done("dispatches") <= most, `${done("dispatches")} dispatches, more than ${most}`);
  },
);

gpuTest("a model may go before what fills its images has been sent", async (gpu) => {
  {
    using model = tinyChatModel(gpu);
    model.vlm.parameters.initialize(new Random(1));
  }
  await gpu.wait();
});
