import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { run as pretrain } from "../cli/pretrain.ts";
import { run as pretrainClip } from "../cli/pretrain_clip.ts";
import { readCaptionedRow } from "../data/caption.ts";
import { makeDemoFolder } from "../data/demo_folder.ts";
import { openWeights } from "../data/open_weights.ts";
import { DataError, FormatError, GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import { clipTokens } from "../model/clip_config.ts";
import { testGpu } from "./support/gpu.ts";

/** Runs a test in a folder with 600 pictures of the demo's small world, and captions. */
function worldTest(name: string, body: (root: string) => Promise<void>): void {
  const fn = async () => {
    const root = await Deno.makeTempDir();
    try {
      await makeDemoFolder(root, {
        world: "one",
        seed: 3,
        texts: 1,
        captions: 600,
        dialogues: 1,
        questions: 1,
      });
      const { tokenizer, config } = byteTokenizer();
      const write = (name: string, value: unknown) =>
        Deno.writeTextFile(join(root, "model", name), JSON.stringify(value));
      await write("tokenizer.json", tokenizer);
      await write("tokenizer_config.json", config);
      await body(root);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  };
  Deno.test({ name, fn, sanitizeResources: false, sanitizeOps: false });
}

async function metricsOf(root: string, name: string): Promise<Record<string, number>[]> {
  const text = await Deno.readTextFile(join(root, "checkpoints", `${name}_metrics.jsonl`));
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

const flagsOf = (root: string) => [
  ...["--root", root, "--num_workers", "0", "--val_ratio", "0.1", "--log_interval", "100"],
  ...["--text_hidden_size", "32", "--text_layers", "1", "--text_heads", "2"],
  ...["--context_length", "40", "--projection_dim", "32", "--warmup_steps", "5"],
  ...["--learning_rate", "4e-3", "--batch_size", "36", "--micro_batch_size", "20"],
];

worldTest(
  "towers learn to tell pairs apart, go on to the last bit, and serve pretrain",
  async (root) => {
    const flags = [...flagsOf(root), "--epochs", "6"];
    assertEquals(await pretrainClip([...flags, "--save_weight", "whole"]), 0);
    const rows = await metricsOf(root, "whole");
    const { image_to_text_r5, text_to_image_r5, texts, images } = rows.at(-1)!;
    assertEquals(images, 60);
    assert(image_to_text_r5! > 3 * 5 / texts!, `${image_to_text_r5} of ${texts} texts`);
    assert(text_to_image_r5! > 3 * 5 / images!, `${text_to_image_r5} of ${images} pictures`);

    const some = (name: string, ...more: string[]) =>
      pretrainClip([...flags, "--save_weight", name, "--max_steps", ...more]);
    assertEquals(await some("once", "20"), 0);
    assertEquals(await some("parts", "17"), 0);
    assertEquals(await some("parts", "20", "--from_resume", "1"), 0);
    const saved = (name: string) => Deno.readFile(join(root, "out", name, "model.safetensors"));
    assertEquals(await saved("parts"), await saved("once"));
    await assertRejects(
      () => some("parts", "30", "--from_resume", "1", "--vision_layers", "2"),
      GlimpseError,
      "vision_layers was 1 and is 2",
    );

    const tower = join(root, "out", "whole");
    const begun = ["--vision_path", tower, "--save_weight", "more", "--max_steps", "1"];
    assertEquals(await pretrainClip([...flags, ...begun]), 0);
    const [first] = await metricsOf(root, "more");
    assert(first!.loss! < 0.8 * rows[0]!.loss!, `begins with ${first!.loss}`);
    await assertRejects(
      () => pretrainClip([...flags, ...begun, "--vision_layers", "2"]),
      FormatError,
      "missing: vision_model.encoder.layers.1.",
    );

    const seen = ["--vision_path", tower, "--from_weight", "none", "--max_steps", "2"];
    const small = ["--hidden_size", "32", "--num_hidden_layers", "1", "--max_seq_len", "128"];
    assertEquals(
      await pretrain([
        "--root",
        root,
        "--num_workers",
        "0",
        ...seen,
        ...small,
        "--freeze_llm",
        "0",
      ]),
      0,
    );
  },
);

worldTest("a text tower learns to fit a frozen vision tower", async (root) => {
  const flags = [...flagsOf(root), "--max_steps", "2"];
  assertEquals(await pretrainClip([...flags, "--save_weight", "a"]), 0);
  const locked = ["--vision_path", join(root, "out", "a"), "--freeze_vision", "1"];
  const { float16 } = (await testGpu()).info;
  for (const dtype of ["float32", "bfloat16", ...float16 ? ["float16"] : []]) {
    const more = [...locked, "--dtype", dtype, "--save_weight", dtype];
    assertEquals(await pretrainClip([...flags, ...more]), 0);
    await using before = await openWeights(join(root, "out", "a"));
    await using after = await openWeights(join(root, "out", dtype));
    assertEquals([...after.tensors.keys()], [...before.tensors.keys()]);
    for (const [name, tensor] of before.tensors) {
      const bytes = [tensor, after.tensors.get(name)!].map(async (one) =>
        (await one.read()).toHex()
      );
      const [one, other] = await Promise.all(bytes);
      assertEquals(one === other, name.startsWith("vision_model."), `${name} in ${dtype}`);
    }
  }
  await assertRejects(
    () => pretrainClip([...flags, "--from_weight", "llm"]),
    UsageError,
    "--vision_path names the folder",
  );
});

Deno.test("captions are read from rows of every kind", () => {
  const said = (row: unknown) => readCaptionedRow(row).caption;
  assertEquals(said({ image: "a.jpg", caption: " A cat. " }), "A cat.");
  assertEquals(said({ image: "a.jpg", text: "A cat." }), "A cat.");
  assertEquals(said({ image: "a.jpg", captions: ["A cat.", "A pet."] }), "A cat.");
  const turns = [
    { from: "human", value: "<image>\nWhat?" },
    { from: "gpt", value: "A cat." },
    { from: "gpt", value: "Its tail." },
  ];
  assertEquals(said({ image: "a.jpg", conversations: turns }), "A cat.");
  assertEquals(readCaptionedRow({ image: "a.jpg", caption: "A" }).picture, "a.jpg");
  const refused = (row: unknown, message: string) =>
    assertThrows(() => readCaptionedRow(row), DataError, message);
  refused({ image: "a.jpg, b.jpg", caption: "Cats." }, "has 2");
  refused({ image: "", caption: "Cats." }, "has 0");
  refused({ image: "a.jpg", conversations: turns.slice(0, 1) }, "nothing is said");
  refused({ image: "../a.jpg", caption: "A" }, "not the name of a file");
});

Deno.test("texts end with the padding token, unless transformers would take it for another", () => {
  assertEquals(clipTokens({ bosId: 1, padId: 0 }), { bosId: 1, endId: 0 });
  assertThrows(() => clipTokens({ bosId: 1, padId: 2 }), FormatError, "id 2");
});
