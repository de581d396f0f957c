import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { run } from "../cli/pretrain.ts";
import { openWeights } from "../data/open_weights.ts";
import { languageModelShapes } from "./support/deterministic_weights.ts";
import { makeOriginalFolder, originalExpected } from "./support/original_folder.ts";

/** Runs a command in a folder laid out as the original's. */
async function withFolder(body: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await makeOriginalFolder(dir);
    await body(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function metricsOf(dir: string): Promise<Record<string, number>[]> {
  const path = join(dir, "checkpoints", "pretrain_vlm_64_metrics.jsonl");
  return (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
}

const FLAGS = ["--hidden_size", "64", "--max_seq_len", "380", "--log_interval", "1"];

Deno.test({
  name: "six epochs of pretrain have the original's losses and leave weights that it can load",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: () =>
    withFolder(async (dir) => {
      const { loss, lr } = (await originalExpected()).train.pretrain!;
      const flags = ["--root", dir, "--epochs", "6", "--batch_size", "8", "--num_workers", "0"];
      assertEquals(await run([...FLAGS, ...flags]), 0);
      const metrics = await metricsOf(dir);
      assertEquals(metrics.length, 6);
      metrics.forEach((line, i) => {
        assert(Math.abs(line.loss! - loss[i]!) < 1e-3, `epoch ${i + 1}: ${line.loss}, not ${loss[i]}`);
        assert(Math.abs(line.lr! - lr[i]!) < 1e-10, `epoch ${i + 1}: lr ${line.lr}, not ${lr[i]}`);
      });
      await using saved = await openWeights(join(dir, "out", "pretrain_vlm_64.pth"));
      const shapes = Object.fromEntries(
        [...saved.tensors.values()].map(({ name, shape }) => [name, shape]),
      );
      assertEquals(shapes, {
        ...languageModelShapes(false),
        "vision_proj.vision_proj.0.weight": [64, 768],
        "vision_proj.vision_proj.0.bias": [64],
      });
      assert([...saved.tensors.values()].every(({ dtype }) => dtype === "float16"));
    }),
});
