import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { openFile, writeFileAtomic } from "../data/files.ts";
import { loadClipConfig, loadImageProcessor, loadTokenizer } from "../data/model_folder.ts";
import { decodePicture } from "../data/picture.ts";
import { makeSampleFolder, type SampleSizes } from "../data/sample_folder.ts";
import { drawCaptionedPicture } from "../data/sample_picture.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { clipVisionSpecs } from "../model/clip_vision.ts";
import { inferMiniMindConfig } from "../model/infer_config.ts";
import { readStateDict } from "../model/pth.ts";
import { Random } from "../model/random.ts";
import { readSafetensors } from "../model/safetensors.ts";

const SIZES: SampleSizes = {
  seed: 1,
  rows: 5,
  evalPictures: 2,
  hiddenSize: 16,
  layers: 1,
  visionHiddenSize: 64,
  visionLayers: 1,
};

const CLIP = "model/vision_model/clip-vit-base-patch16";

async function inTempFolder(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function digest(path: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", await Deno.readFile(path));
  return new Uint8Array(hash).toHex();
}

Deno.test("the sample folder holds what its readers want", async () => {
  await inTempFolder(async (root) => {
    const { files, written } = await makeSampleFolder(root, SIZES);
    assert(written);
    assertEquals(files.length, 7 + SIZES.rows + SIZES.evalPictures);

    {
      await using source = await openFile(join(root, "out/llm_16.pth"));
      const weights = await readStateDict(source);
      const config = inferMiniMindConfig(weights, {}, "llm_16.pth");
      assertEquals([config.hidden_size, config.num_hidden_layers, config.vocab_size], [
        16,
        1,
        6400,
      ]);
      const head = await weights.tensors.get("lm_head.weight")!.read();
      assertEquals(head, await weights.tensors.get("model.embed_tokens.weight")!.read());
      assert(![...weights.tensors.keys()].some((name) => name.startsWith("vision_proj")));
    }
    {
      const clip = await loadClipConfig(join(root, CLIP));
      await using source = await openFile(join(root, CLIP, "model.safetensors"));
      const { tensors } = await readSafetensors(source);
      const parts = clipVisionSpecs(clip).flatMap(({ parts }) => parts);
      assertEquals(
        new Map([...tensors].map(([name, { shape }]) => [name, shape])),
        new Map(parts.map(({ name, shape }) => [name, shape])),
      );
    }
    assertEquals((await loadImageProcessor(join(root, CLIP))).processor.size, 224);
    const { tokenizer } = await loadTokenizer(join(root, "model"));
    assertEquals(tokenizer.encode("@"), [34]);
  });
});

Deno.test("every row has its picture, and turns that hold its placeholder", async () => {
  await inTempFolder(async (root) => {
    await makeSampleFolder(root, SIZES);
    const text = await Deno.readTextFile(join(root, "dataset/pretrain_data.jsonl"));
    const rows = text.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(rows.length, SIZES.rows);
    for (const { image, conversations } of rows) {
      const { width, height } = await decodePicture(join(root, "dataset/pretrain_images", image));
      assertEquals([width, height], [112, 112]);
      const [question, answer] = conversations;
      assertEquals([question.role, answer.role], ["user", "assistant"]);
      assertEquals(question.content.split("<image>").length, 2);
      assert(/^(A (small|large) \w+ \w+\.|一个[大小]的.*。)$/.test(answer.content), answer.content);
    }
    const evaluated = await Array.fromAsync(Deno.readDir(join(root, "dataset/eval_images")));
    assertEquals(evaluated.length, SIZES.evalPictures);
    for (const { name } of evaluated) assert(/^\d_a_(small|large)_\w+\.png$/.test(name), name);
  });
});

Deno.test("the same seed makes the same files, another seed others", async () => {
  await inTempFolder(async (root) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => join(root, name)) as [string, string, string];
    await makeSampleFolder(a, SIZES);
    await makeSampleFolder(b, { ...SIZES, rows: 6 });
    await makeSampleFolder(c, { ...SIZES, seed: 2 });
    for (
      const file of [
        "out/llm_16.pth",
        `${CLIP}/model.safetensors`,
        "dataset/pretrain_images/shape_0003.png",
      ]
    ) {
      assertEquals(await digest(join(a, file)), await digest(join(b, file)));
      assert(await digest(join(a, file)) !== await digest(join(c, file)), file);
    }
  });
});

Deno.test("files that are there are kept, unless told otherwise", async () => {
  await inTempFolder(async (root) => {
    const { files } = await makeSampleFolder(root, SIZES);
    assertEquals(await makeSampleFolder(root, SIZES), { files, written: false });
    for (
      const [other, name] of [
        [{ ...SIZES, rows: 4 }, "dataset/pretrain_data.jsonl"],
        [{ ...SIZES, visionHiddenSize: 128 }, `${CLIP}/config.json`],
      ] as const
    ) {
      await assertRejects(
        () => makeSampleFolder(root, other),
        UsageError,
        `${join(root, name)} is there already`,
      );
    }

    const data = join(root, "dataset/pretrain_data.jsonl");
    await writeFileAtomic(data, "mine\n");
    await Deno.remove(join(root, "out/llm_16.pth"));
    const error = await assertRejects(() => makeSampleFolder(root, SIZES), UsageError, "--force");
    assert(error.message.startsWith(join(root, "model/tokenizer.json")), error.message);
    assertEquals(await Deno.readTextFile(data), "mine\n");

    assert((await makeSampleFolder(root, SIZES, true)).written);
    assert(await Deno.readTextFile(data) !== "mine\n");
  });
});

Deno.test("a picture shows its colour in its middle", () => {
  for (let seed = 0; seed < 40; seed++) {
    const { picture, en } = drawCaptionedPicture(new Random(seed), 60);
    const at = (x: number, y: number): number[] => [
      ...picture.data.subarray(3 * (y * 60 + x), 3 * (y * 60 + x) + 3),
    ];
    assert(at(1, 1).every((value) => value < 64), `the corner of ${en}`);
    if (/square|circle/.test(en)) {
      const [red, green, blue] = at(30, 30) as [number, number, number];
      const colour = en.split(" ")[2]!;
      const expected: Record<string, boolean> = {
        red: red > 200 && green < 100 && blue < 100,
        green: green > 150 && red < 100 && blue < 120,
        blue: blue > 200 && red < 100,
        yellow: red > 200 && green > 180 && blue < 100,
        purple: red > 130 && green < 110 && blue > 180,
        white: red > 200 && green > 200 && blue > 200,
      };
      assert(expected[colour], `${en} ${[red, green, blue]}`);
    }
  }
});
