import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { run as pretrain } from "../cli/pretrain.ts";
import { run as sft } from "../cli/sft.ts";
import { writeFileAtomic } from "../data/files.ts";
import { openWeights } from "../data/open_weights.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { hostTensor } from "../model/host_tensor.ts";
import { type PthContent, pthValueChunks } from "../model/pth_writer.ts";
import type { StepMetrics } from "../train/metrics.ts";
import { languageModelShapes } from "./support/deterministic_weights.ts";
import { testGpu } from "./support/gpu.ts";
import { folderTest, originalExpected } from "./support/original_folder.ts";

async function metricsOf(dir: string, name: string, size = "_64"): Promise<StepMetrics[]> {
  const path = join(dir, "checkpoints", `${name}${size}_metrics.jsonl`);
  return (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
}

function assertLosses(
  metrics: StepMetrics[],
  losses: number[],
  lrs: number[],
  most = 1e-3,
): void {
  assertEquals(metrics.length, losses.length);
  metrics.forEach(({ loss, lr }, i) => {
    assert(Math.abs(loss - losses[i]!) < most, `update ${i + 1}: loss ${loss}, not ${losses[i]}`);
    assert(Math.abs(lr - lrs[i]!) < 1e-9, `update ${i + 1}: lr ${lr}, not ${lrs[i]}`);
  });
}

/** What `eval.ts` says of the folder's pictures, greedily. */
async function answers(root: string): Promise<{ image: string; text: string }[]> {
  const asked = ["--weight", "pretrain_vlm", "--hidden_size", "64", "--temperature", "0"];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "eval.ts", "--root", root, ...asked, "--max_new_tokens", "32"],
    cwd: new URL("..", import.meta.url),
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const said = new TextDecoder().decode(stdout).matchAll(/\[(.*?)\]\n👶: .*\n🤖️: ([^]*?)\n\n/gu);
  return [...said].map(([, image, text]) => ({ image: image!, text: text! }));
}

const SIZE = ["--hidden_size", "64", "--max_seq_len", "380", "--num_workers", "0"];

/** Flags of the runs that the original was recorded with, which computed in float32. */
const recorded = (dir: string, batch = 8) => [
  ...SIZE,
  ...["--root", dir, "--epochs", "6", "--batch_size", `${batch}`, "--dtype", "float32"],
];

folderTest(
  "pretrain and SFT have the original's losses, and leave weights it can load",
  async (dir) => {
    const { train } = await originalExpected();
    const flags = recorded(dir);
    assertEquals(await pretrain(flags), 0);
    assertLosses(await metricsOf(dir, "pretrain_vlm"), train.pretrain!.loss, train.pretrain!.lr);
    {
      await using saved = await openWeights(join(dir, "out", "pretrain_vlm_64.pth"));
      const tensors = [...saved.tensors.values()];
      assertEquals(Object.fromEntries(tensors.map(({ name, shape }) => [name, shape])), {
        ...languageModelShapes(false),
        "vision_proj.vision_proj.0.weight": [64, 768],
        "vision_proj.vision_proj.0.bias": [64],
      });
      assert(tensors.every(({ dtype }) => dtype === "float16"));
    }
    const { outputs } = (await originalExpected()).eval.pretrain!;
    assertEquals(await answers(dir), outputs.map(({ image, text }) => ({ image, text })));
    assertEquals(await sft([...flags, "--learning_rate", "5e-4"]), 0);
    assertLosses(await metricsOf(dir, "sft_vlm"), train.sft!.loss, train.sft!.lr);
    const accumulate = [
      "--accumulation_steps",
      "2",
      "--compat",
      "--shuffle",
      "0",
      "--save_weight",
      "acc",
    ];
    assertEquals(
      await sft([...recorded(dir, 4), "--learning_rate", "5e-4", ...accumulate]),
      0,
    );
    const { loss, lr } = train.sft_accumulate!;
    const updates = [0, 2, 4, 6, 8, 10]; // the original updates after the first batch, then after every second
    const means = updates.map((i) => i === 0 ? loss[0]! : (loss[i - 1]! + loss[i]!) / 2);
    assertLosses(await metricsOf(dir, "acc"), means, updates.map((i) => lr[i]!));
  },
);

folderTest("mixtures of experts have the original's losses, with their balance", async (dir) => {
  const { train } = await originalExpected();
  const flags = [...recorded(dir), "--use_moe", "1"];
  // the original prints both losses added, and balances experts over padding
  const total = async (name: string) =>
    (await metricsOf(dir, name, "_64_moe")).map((metrics) => ({
      ...metrics,
      loss: metrics.loss + metrics.aux_loss,
    }));
  assertEquals(await pretrain([...flags, "--compat"]), 0);
  const { pretrain_moe_float32: first, sft_moe_float32: second } = train;
  assertLosses(await total("pretrain_vlm"), first!.loss, first!.lr);
  assertEquals(await sft([...flags, "--compat", "--learning_rate", "2e-4"]), 0);
  // a token whose experts score alike to 1e-6 may choose another than the original's, by how a driver rounds
  assertLosses(await total("sft_vlm"), second!.loss, second!.lr, 5e-3);
  await using saved = await openWeights(join(dir, "out", "sft_vlm_64_moe.pth"));
  assertEquals(
    Object.fromEntries([...saved.tensors.values()].map(({ name, shape }) => [name, shape])),
    {
      ...languageModelShapes(true),
      "vision_proj.vision_proj.0.weight": [64, 768],
      "vision_proj.vision_proj.0.bias": [64],
    },
  );
});

folderTest("a run that stops in the middle of an epoch goes on to the last bit", async (dir) => {
  const flags = [
    ...SIZE,
    "--root",
    dir,
    "--epochs",
    "3",
    "--batch_size",
    "3",
    "--from_weight",
    "llm",
  ];
  const name = (
    n: string,
  ) => ["--save_weight", n, "--accumulation_steps", "2", "--learning_rate", "1e-3"];
  assertEquals(await sft([...flags, ...name("whole")]), 0);
  assertEquals(await sft([...flags, ...name("parts"), "--max_steps", "1"]), 0);
  for (let i = 0; i < 2; i++) { // the second time nothing is left to do
    assertEquals(
      await sft([...flags, ...name("parts"), "--max_steps", "4", "--from_resume", "1"]),
      0,
    );
    assertEquals((await metricsOf(dir, "parts")).map(({ step }) => step), [1, 2, 3, 4]);
  }
  assertEquals(await sft([...flags, ...name("parts"), "--from_resume", "1"]), 0);
  const whole = await metricsOf(dir, "whole"), parts = await metricsOf(dir, "parts");
  assertEquals(
    parts.map(({ seconds: _, ...rest }) => rest),
    whole.map(({ seconds: _, ...rest }) => rest),
  );
  assertEquals(whole.map(({ step }) => step), [1, 2, 3, 4, 5, 6]);
  const states = async (n: string) => {
    await using file = await openWeights(join(dir, `out/${n}_64.pth`));
    return await Promise.all([...file.tensors.values()].map((tensor) => tensor.read()));
  };
  assertEquals(await states("parts"), await states("whole"));

  const resumed = [...flags, ...name("parts"), "--from_resume", "1"];
  await assertRejects(
    () => sft(resumed.map((arg) => arg === "380" ? "200" : arg)),
    GlimpseError,
    "max_seq_len was 380 and is 200",
  );
  const data = join(dir, "dataset", "sft_data.jsonl");
  await Deno.writeTextFile(data, await Deno.readTextFile(data) + await Deno.readTextFile(data));
  await assertRejects(() => sft(resumed), GlimpseError, "rows was 8 and is 16");
});

folderTest(
  "a run that learns nothing fails, and leaves the weights that are there",
  async (dir) => {
    const flags = [...SIZE, "--root", dir, "--epochs", "1", "--on_bad_sample", "skip"];
    const weights = join(dir, "out", "pretrain_vlm_64.pth");
    await Deno.writeTextFile(weights, "those of another run");
    await assertRejects(
      () => pretrain([...flags, "--images_path", join(dir, "nowhere")]),
      GlimpseError,
      "nothing is saved: no sample has an answer to learn",
    );
    assertEquals(await Deno.readTextFile(weights), "those of another run");
  },
);

folderTest("a run in float16 goes on to the last bit, in no other precision", async (dir) => {
  if (!(await testGpu()).info.float16) return;
  const flags = [
    ...SIZE,
    "--root",
    dir,
    "--epochs",
    "2",
    "--batch_size",
    "4",
    "--dtype",
    "float16",
  ];
  const name = (n: string) => [
    ...["--from_weight", "llm", "--save_weight", n],
    ...["--learning_rate", "1e-3"],
  ];
  assertEquals(await sft([...flags, ...name("whole")]), 0);
  assertEquals(await sft([...flags, ...name("parts"), "--max_steps", "3"]), 0);
  const meta = join(dir, "checkpoints", "parts_64_resume", "meta.json");
  const { trainer, fixed } = JSON.parse(await Deno.readTextFile(meta));
  assertEquals([trainer.loss_scale, fixed.dtype], [65536, "float16"]);
  const resumed = [...flags, ...name("parts"), "--from_resume", "1"];
  await assertRejects(
    () => sft(resumed.map((arg) => arg === "float16" ? "float32" : arg)),
    GlimpseError,
    "dtype was float16 and is float32",
  );
  assertEquals(await sft(resumed), 0);
  const [whole, parts] = [await metricsOf(dir, "whole"), await metricsOf(dir, "parts")];
  assertEquals(
    parts.map(({ seconds: _, ...rest }) => rest),
    whole.map(({ seconds: _, ...rest }) => rest),
  );
  assertEquals(whole.map(({ step, loss_scale }) => [step, loss_scale]), [
    [1, 65536],
    [2, 65536],
    [3, 65536],
    [4, 65536],
  ]);
});

folderTest("a checkpoint of the original is taken up", async (dir) => {
  const flags = [...SIZE, "--root", dir, "--epochs", "2", "--batch_size", "4"];
  const name = (n: string) => ["--save_weight", n, "--learning_rate", "1e-2"];
  assertEquals(await pretrain([...flags, ...name("whole")]), 0);
  assertEquals(await pretrain([...flags, ...name("parts"), "--max_steps", "3"]), 0);
  const folder = join(dir, "checkpoints", "parts_64_resume");
  {
    await using own = await openWeights(join(folder, "step-00000003.safetensors"));
    await using llm = await openWeights(join(dir, "out", "llm_64.pth"));
    const names = ["vision_proj.vision_proj.0.weight", "vision_proj.vision_proj.0.bias"];
    const state = names.map((name, i): [number, PthContent] => [
      i,
      new Map<string, PthContent>([
        ["step", hostTensor("step", [], new Float32Array([3]))],
        ["exp_avg", own.tensors.get(`first.${name}`)!],
        ["exp_avg_sq", own.tensors.get(`second.${name}`)!],
      ]),
    ]);
    const model = new Map<string, PthContent>([
      ...llm.tensors,
      ["vision_encoder.logit_scale", hostTensor("logit_scale", [], new Float32Array([1]))],
      ...names.map((name) => [name, own.tensors.get(`weight.${name}`)!] as const),
    ]);
    const content = new Map<string, PthContent>([
      ["model", model],
      [
        "optimizer",
        new Map<string, PthContent>([
          ["state", new Map(state)],
          ["param_groups", [new Map<string, PthContent>([["params", [0, 1]]])]],
        ]),
      ],
      ["epoch", 1],
      ["step", 1],
      ["world_size", 1],
    ]);
    await writeFileAtomic(`${folder}.pth`, pthValueChunks(content, "resume"));
  }
  await Deno.remove(folder, { recursive: true });
  assertEquals(await pretrain([...flags, ...name("parts"), "--from_resume", "1"]), 0);
  const [whole, parts] = [await metricsOf(dir, "whole"), await metricsOf(dir, "parts")];
  assertEquals(parts.at(-1)!.loss, whole.at(-1)!.loss);
  assertEquals(parts.at(-1)!.grad_norm, whole.at(-1)!.grad_norm);
});
