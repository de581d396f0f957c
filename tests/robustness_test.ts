import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { run as sft } from "../cli/sft.ts";
import { openWeights } from "../data/open_weights.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { hostTensor, readChecked, toFloat32 } from "../model/host_tensor.ts";
import { pthChunks } from "../model/pth_writer.ts";
import { safetensorsChunks } from "../model/safetensors.ts";
import { writeFileAtomic } from "../data/files.ts";
import type { StepMetrics } from "../train/metrics.ts";
import { folderTest, makeOriginalFolder } from "./support/original_folder.ts";
import { seeded } from "./support/seeded.ts";

/** How often a run is killed; more by hand. */
const KILLS = Number(Deno.env.get("GLIMPSE_KILLS") ?? 3);

function start(dir: string, ...flags: string[]): Deno.ChildProcess {
  const size = ["--hidden_size", "64", "--max_seq_len", "380", "--num_workers", "0"];
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "cli.ts",
      "sft",
      "--root",
      dir,
      "--from_weight",
      "llm",
      ...size,
      ...flags,
    ],
    cwd: new URL("..", import.meta.url),
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function finish(child: Deno.ChildProcess): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

async function metricsOf(dir: string, name: string): Promise<Partial<StepMetrics>[]> {
  const path = join(dir, "checkpoints", `${name}_64_metrics.jsonl`);
  const lines = (await Deno.readTextFile(path)).trim().split("\n");
  return lines.map((line) => JSON.parse(line));
}

/** Every file that is not temporary can be read whole. */
async function assertWhole(dir: string, name: string): Promise<void> {
  const folder = join(dir, "checkpoints", `${name}_64_resume`);
  const files = await Array.fromAsync(Deno.readDir(folder), (f) => f.name).catch(() => []);
  const paths = files.filter((f) => /^step-.*\.safetensors$/.test(f)).map((f) => join(folder, f));
  for (const path of [...paths, join(dir, "out", `${name}_64.pth`)]) {
    try {
      await Deno.stat(path);
    } catch {
      continue; // not written yet
    }
    await using weights = await openWeights(path);
    for (const tensor of weights.tensors.values()) await readChecked(tensor);
  }
}

/** Reads what a child prints, until that is enough or it ends. */
async function readText(
  reader: ReadableStreamDefaultReader<string>,
  enough: (text: string) => boolean = () => false,
): Promise<string> {
  let text = "";
  while (!enough(text)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
  }
  return text;
}

folderTest(`a run that is killed ${KILLS} times ends as one that is not`, async (dir) => {
  const flags = [
    // four updates each, of which a kill may come some too late
    ...["--epochs", String(2 * KILLS + 2), "--batch_size", "2", "--learning_rate", "1e-3"],
    ...["--save_interval", "1", "--log_interval", "1"],
  ];
  const whole = await finish(start(dir, ...flags, "--save_weight", "whole"));
  assertEquals(whole.code, 0, whole.text);
  const updates = await metricsOf(dir, "whole");
  const seconds = Math.min(...updates.map((row) => row.seconds!)); // a mean would have each stall of the machine
  const random = seeded("kills");
  for (let i = 0; i < KILLS; i++) {
    const child = start(dir, ...flags, "--save_weight", "killed", "--from_resume", "1");
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const seen = 1 + Math.floor(2 * random.float());
    let text = await readText(reader, (text) => text.split("Epoch:").length > seen);
    await new Promise((resolve) => setTimeout(resolve, 1200 * seconds * random.float()));
    child.kill("SIGKILL");
    text += await readText(reader);
    await child.stderr.cancel();
    assertEquals((await child.status).signal, "SIGKILL", text);
    await assertWhole(dir, "killed");
  }
  const last = await finish(
    start(dir, ...flags, "--save_weight", "killed", "--from_resume", "1"),
  );
  assertEquals(last.code, 0, last.text);
  const computed = ({ seconds: _, ...rest }: Partial<StepMetrics>) => rest;
  assertEquals((await metricsOf(dir, "killed")).map(computed), updates.map(computed));
  const bytes = async (name: string) => {
    await using file = await openWeights(join(dir, "out", `${name}_64.pth`));
    return await Promise.all([...file.tensors.values()].map((tensor) => tensor.read()));
  };
  assertEquals(await bytes("killed"), await bytes("whole"));
});

folderTest(
  "a run that is asked to stop saves, says how to go on, and ends with 130",
  async (dir) => {
    const child = start(dir, "--epochs", "500", "--batch_size", "8", "--log_interval", "1");
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = await readText(reader, (text) => text.includes("Epoch:[2/"));
    child.kill("SIGINT");
    text += await readText(reader);
    await child.stderr.cancel();
    assertEquals((await child.status).code, 130, text);
    assert(text.includes("--from_resume 1"), text);
    await assertWhole(dir, "sft_vlm");
    assert((await metricsOf(dir, "sft_vlm")).length >= 2);
  },
);

Deno.test("a folder that weights cannot be written to is known before anything is loaded", async () => {
  const root = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(root, "out"), "");
    await assertRejects(
      () => sft(["--root", root]),
      GlimpseError,
      `Cannot write to the folder ${join(root, "out")}: `,
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

/** Changes the numbers of a weight file in place. */
async function rewrite(path: string, change: (name: string, values: Float32Array) => void) {
  await using file = await openWeights(path);
  const tensors = await Promise.all([...file.tensors.values()].map(async (tensor) => {
    const values = toFloat32(await tensor.read(), tensor.dtype).slice();
    change(tensor.name, values);
    return hostTensor(tensor.name, tensor.shape, values);
  }));
  const { metadata } = file;
  const chunks = path.endsWith(".pth")
    ? pthChunks(tensors, "llm_64")
    : safetensorsChunks(tensors, metadata);
  await writeFileAtomic(path, chunks);
}

folderTest(
  "weights so large that no gradient is finite end the run with a sentence, and break no file",
  async (dir) => {
    await rewrite(join(dir, "out", "llm_64.pth"), (name, values) => {
      if (/layers\.1\.mlp\.(up|gate)_proj\.weight$/.test(name)) values.fill(3e38);
    });
    const { code, text } = await finish(
      start(dir, "--epochs", "20", "--batch_size", "8", "--max_bad_steps", "3"),
    );
    assertEquals(code, 1, text);
    assert(text.includes("3 updates in a row had no finite gradient"), text);
    await assertWhole(dir, "sft_vlm");
  },
);

folderTest(
  "weights that are not finite are refused by their name and number, also in a checkpoint",
  async (dir) => {
    const flags = ["--batch_size", "8", "--max_steps", "2"];
    const first = await finish(start(dir, "--batch_size", "8", "--max_steps", "1"));
    assertEquals(first.code, 0, first.text);
    const weight = "model.norm.weight";
    for (
      const [path, name] of [
        ["checkpoints/sft_vlm_64_resume/step-00000001.safetensors", `first.${weight}`],
        ["out/llm_64.pth", weight],
      ] as const
    ) {
      await rewrite(join(dir, path), (own, values) => {
        if (own === name) values.set([NaN, -Infinity], 5);
      });
      const { code, text } = await finish(start(dir, ...flags, "--from_resume", "1"));
      assertEquals(code, 1, text);
      const sentence = `cannot be used: ${name} holds NaN or infinity (2 of its 64 numbers)`;
      assert(text.includes(`${join(dir, path)} ${sentence}`), text);
    }
  },
);

folderTest(
  "files that are missing, broken or too small are named, with exit status 1",
  async (dir) => {
    const cases: [string, () => Promise<unknown>, string][] = [
      [
        "sft_data.jsonl",
        () => Deno.remove(join(dir, "dataset", "sft_data.jsonl")),
        "sft_data.jsonl",
      ],
      ["llm_64.pth", () => Deno.truncate(join(dir, "out", "llm_64.pth"), 5000), "llm_64.pth"],
      [
        "config.json",
        () =>
          Deno.writeTextFile(
            join(dir, "model", "vision_model", "clip-vit-base-patch16", "config.json"),
            "{",
          ),
        "config.json",
      ],
    ];
    for (const [what, breakIt, sentence] of cases) {
      await breakIt();
      const { code, text } = await finish(start(dir, "--epochs", "1"));
      assertEquals(code, 1, `${what}: ${text}`);
      assert(text.includes(sentence), text);
      assert(!text.includes("This is a bug"), text);
      await makeOriginalFolder(dir);
    }
  },
);

folderTest(
  "a bad row ends the run with what was learnt before saved, and --from_resume goes on",
  async (dir) => {
    const path = join(dir, "dataset", "sft_data.jsonl");
    const rows = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, `${rows.trimEnd()}\n{"conversations": [\n`);
    const flags = ["--epochs", "1", "--batch_size", "2", "--shuffle", "0"];
    const { code, text } = await finish(start(dir, ...flags));
    assertEquals(code, 1, text);
    assert(text.includes("sft_data.jsonl:9"), text);
    assert(text.includes("step-00000004.safetensors"), text);
    await assertWhole(dir, "sft_vlm");
    const on = await finish(start(dir, ...flags, "--from_resume", "1", "--on_bad_sample", "skip"));
    assertEquals(on.code, 0, on.text);
    assert(on.text.includes("4 updates done"), on.text);
  },
);

folderTest(
  "a run that goes on keeps its best validation, and its report shows all of them",
  async (dir) => {
    const best = join(dir, "out", "sft_vlm_best_64.pth");
    const flags = ["--epochs", "2", "--batch_size", "8", "--val_path"];
    flags.push(join(dir, "dataset", "pretrain_data.jsonl"));
    const first = await finish(start(dir, ...flags, "--max_steps", "1"));
    assertEquals(first.code, 0, first.text);
    const metrics = join(dir, "checkpoints", "sft_vlm_64_metrics.jsonl");
    const lower = (await Deno.readTextFile(metrics)).replace(/"val_loss":[\d.]+/, '"val_loss":0.5');
    await Deno.writeTextFile(metrics, lower);
    await Deno.remove(best);
    const second = await finish(start(dir, ...flags, "--from_resume", "1"));
    assertEquals(second.code, 0, second.text);
    const names = await Array.fromAsync(Deno.readDir(join(dir, "out")), ({ name }) => name);
    assert(!names.includes("sft_vlm_best_64.pth"), "worse weights are the best ones");
    const report = await Deno.readTextFile(join(dir, "checkpoints", "sft_vlm_64_report.html"));
    assert(report.includes("Best validation loss"));
  },
);
