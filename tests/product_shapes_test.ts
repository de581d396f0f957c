import { assertEquals } from "@std/assert";
import { backward, startTape } from "../kernels/elementwise.ts";
import { useTuning } from "../kernels/matmul/choose.ts";
import { TILES } from "../kernels/matmul/tiled.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { packSamples, type Sample } from "../model/batch.ts";
import { clipVisionConfig, miniMindConfig } from "../model/config.ts";
import { expertShapes, productShapes } from "../model/product_shapes.ts";
import { Random } from "../model/random.ts";
import { Vlm } from "../model/vlm.ts";
import { trainPolicy } from "../train/freeze.ts";

const vision = clipVisionConfig({
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  image_size: 32,
  patch_size: 16,
});
const SIXTEEN = Array.from({ length: 16 }, (_, index): Sample => ({
  index,
  ids: Uint32Array.from({ length: 7 }, (_, i) => i),
  mask: Uint8Array.of(0, 0, 0, 0, 0, 1, 1),
  pictureStarts: [1],
  pictures: [new Uint8Array(3 * 32 * 32)],
}));

for (const use_moe of [false, true]) {
  for (const trains of ["projection", "all"] as const) {
    const name = `the products of a step that trains ${trains}${use_moe ? ", with experts," : ""}`;
    Deno.test(`${name} are those that it runs`, async () => {
      using gpu = await Gpu.open(Deno.env.get("GLIMPSE_DEVICE") ?? "gpu");
      const language = miniMindConfig({
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        num_key_value_heads: 1,
        vocab_size: 50,
        max_position_embeddings: 64,
        use_moe,
        aux_loss_alpha: 0,
      });
      const config = { language, vision, imageMean: [0, 0, 0], imageStd: [1, 1, 1] } as const;
      using vlm = new Vlm(gpu, config, trainPolicy(trains === "all" ? 0 : 1, 2));
      vlm.parameters.initialize(new Random(0));
      vlm.visionParameters.initialize(new Random(1));
      useTuning(gpu, {
        choices: {},
        wrong: [
          ...TILES.map((tile) => `tiled/${tile}`),
          "gemv",
          "software",
        ]
          .flatMap((name) => [name, `experts/${name}`]),
      });
      const ran = new Set<string>();
      const run = gpu.run.bind(gpu);
      gpu.run = (kernel, bindings, params, workgroups) => {
        const [m, n, k, , aRow, , bColumn] = params;
        const layout = aRow === 1 ? "TN" : bColumn === 1 ? "NN" : "NT";
        if (kernel.name.startsWith("matmul_small")) ran.add(`${layout} ${m} ${n} ${k}`);
        const [grouped] = /(?<=^experts_small\/)../.exec(kernel.name) ?? [];
        // of the sums over rows, the kernel is not told how many these are
        if (grouped) ran.add(`experts ${grouped} ${m} ${n}${grouped === "TN" ? "" : ` ${k}`}`);
        run(kernel, bindings, params, workgroups);
      };
      const batch = packSamples(SIXTEEN, 4);
      {
        using _scope = gpu.scope();
        using tape = startTape(gpu);
        backward(tape, vlm.loss(batch, 1));
      }
      await gpu.wait();
      const tokens = batch.lengths.reduce((a, b) => a + b);
      const work = { tokens, labels: batch.labelRows.length, pictures: 16, trains };
      const shapes = productShapes(config, { ...work, precision: "float32" });
      const named = shapes.map(({ layout, m, n, k }) => `${layout} ${m} ${n} ${k}`);
      const experts = expertShapes(config, { ...work, precision: "float32" }).map((
        { layout, m, n, k },
      ) => `experts ${layout} ${m} ${n}${layout === "TN" ? "" : ` ${k}`}`);
      assertEquals([...named, ...new Set(experts)].sort(), [...ran].sort());
    });
  }
}
