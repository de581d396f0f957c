import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { type DatasetSource, VlmDataset } from "../data/dataset.ts";
import { loadImageProcessor, loadTokenizer, modelFolder } from "../data/model_folder.ts";
import { decodePicture } from "../data/picture.ts";
import { DataError, FormatError, UsageError } from "../kernels/runtime/errors.ts";
import { packSamples, type Sample } from "../model/batch.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import { bytesSource } from "../model/bytes.ts";
import { ImageProcessor } from "../model/image_processor.ts";
import { readSafetensors } from "../model/safetensors.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { needsShared, SHARED, sharedTokenizer } from "./support/tokenizers.ts";
import { PICTURES, row, temporaryDataset } from "./support/vlm_data.ts";

const { tokenizer: files, config } = byteTokenizer();
const tokenizer = new Tokenizer(files, config);

/** What the model is to say of a sample. */
const learnt = ({ ids, mask }: Sample) => tokenizer.decode(ids.filter((_, i) => mask[i] === 1));

async function withSource(
  rows: readonly unknown[],
  action: (dataset: VlmDataset, source: DatasetSource) => Promise<void>,
  change: Partial<DatasetSource> = {},
): Promise<void> {
  await using source = await temporaryDataset(rows);
  using dataset = VlmDataset.open({ ...source, ...change });
  await action(dataset, source);
}

Deno.test("a row becomes ids, a mask and pictures in their places", () =>
  withSource([row("Yes.", "square.png"), row("No.")], async (dataset) => {
    assertEquals(dataset.length, 2);
    const sample = await dataset.sample(0);
    const system = "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>";
    const text = `${system}user\n@@@@\nWhat?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n`;
    assertEquals(tokenizer.decode(sample.ids), text);
    assertEquals(learnt(sample), "Yes.<|im_end|>\n");
    const start = tokenizer.encode(text.slice(0, text.indexOf("@"))).length;
    assertEquals([sample.index, ...sample.pictureStarts], [0, start]);
    const picture = await decodePicture(join(PICTURES, "square.png"));
    const pixels = new ImageProcessor({ size: 16, crop_size: 16 }).process(picture);
    assertEquals([...sample.pictures[0]!], [...pixels]);
    const second = await dataset.sample(1);
    assertEquals([second.pictures.length, second.pictureStarts.length], [0, 0]);
    assertEquals(learnt(second), "No.<|im_end|>\n");
  }));

Deno.test("several pictures keep their order, however their names are spaced", () => {
  const two = {
    image: " tiny.png ,square.png",
    conversations: [{ content: "<image><image>\nSame?" }, { content: "No." }],
  };
  return withSource([two, row("a", "tiny.png"), row("b", "square.png")], async (dataset) => {
    const [both, tiny, square] = await Promise.all([0, 1, 2].map((i) => dataset.sample(i)));
    assertEquals(both!.pictures, [...tiny!.pictures, ...square!.pictures]);
    assertEquals(both!.pictureStarts[1]! - both!.pictureStarts[0]!, 4);
  });
});

Deno.test("roles go by turn and a long answer is cut off", () => {
  const turns = ["Hi", "Hello", "More", "x".repeat(300)];
  const long = { conversations: turns.map((content) => ({ role: "assistant", content })) };
  return withSource([long], async (dataset) => {
    const sample = await dataset.sample(0);
    assertEquals(sample.ids.length, 200);
    assert(tokenizer.decode(sample.ids).includes("<|im_start|>user\nMore<|im_end|>"));
    assert(/^Hello<\|im_end\|>\nx{40,}$/.test(learnt(sample)));
  });
});

Deno.test("rows in which nothing is to be learnt are samples, and no batch has them", () => {
  const question = { image: "tiny.png", conversations: [{ content: "<image>" }] };
  const late = { conversations: [{ content: "x".repeat(300) }, { content: "never seen" }] };
  return withSource([question, late], async (dataset) => {
    const samples = [await dataset.sample(0), await dataset.sample(1)];
    assertEquals(samples.map(learnt), ["", ""]);
    const { lengths, pictureCount, samples: count } = packSamples(samples, 4);
    assertEquals([lengths.length, pictureCount, count], [0, 0, 2]);
  });
});

Deno.test("a row that cannot be used is named by file and line", () => {
  const turn = [{ content: "Hi" }];
  const image = (name: unknown) => ({ image: name, conversations: [{ content: "<image>" }] });
  const cases: [unknown, string][] = [
    ["{", "not valid JSON"],
    ['{"image": "tiny.png", "conversations": [{"content": "<ima', "not valid JSON"],
    ["[]", "not an object"],
    [{ conversations: "Hi" }, "not a list"],
    [{ conversations: [] }, "no conversations"],
    [{}, "no conversations"],
    [{ conversations: [{ content: 3 }] }, 'Turn 1 of the conversation has no text in "content"'],
    [{ conversations: [{ content: "a" }, null] }, "Turn 2"],
    [image(3), "image is 3"],
    [image(["tiny.png"]), 'image is ["tiny.png"]'],
    [image("nowhere.png"), "nowhere.png does not exist"],
    [image("rows.jsonl"), "rows.jsonl cannot be read"],
    [image("."), "cannot be read"],
    [image("../tiny.png"), '"../tiny.png"'],
    [image("a\\..\\..\\tiny.png"), "which is not the name of a file"],
    [image("tiny.png,"), '""'],
    [image(""), "the text has 1 of <image>, the place for a picture, and image names 0."],
    [image("tiny.png, square.png"), "has 1 of <image>, the place for a picture, and image names 2"],
    [{ image: "tiny.png", conversations: turn }, "has 0 of <image>"],
    [{ conversations: [{ content: "@@@@" }] }, "has 1 of <image>"],
    [
      { image: "tiny.png", conversations: [{ content: "x".repeat(170) + "<image>" }] },
      "picture 1 does not fit into the first 200 tokens",
    ],
    [
      { image: "tiny.png", conversations: [{ content: "x".repeat(155) + "<image>" }] },
      "picture 1 does not fit into the first 200 tokens",
    ],
  ];
  return withSource(cases.map(([row]) => row), async (dataset, { dataPath }) => {
    for (const [index, [, part]] of cases.entries()) {
      const place = `${dataPath}:${index + 1}: `;
      const error = await assertRejects(() => dataset.sample(index), DataError);
      assert(error instanceof DataError && error.message.startsWith(place), String(error));
      assert(error.message.includes(part), error.message);
    }
  });
});

Deno.test("a picture's name keeps its folders", async () => {
  await using source = await temporaryDataset([row("a", "sub/deep.png"), row("b", "/tiny.png")]);
  await Deno.mkdir(join(source.imagesPath, "sub"));
  const [from, to] = ["tiny.png", "sub/deep.png"].map((name) => join(source.imagesPath, name));
  await Deno.copyFile(from!, to!);
  using dataset = VlmDataset.open(source);
  const [deep, top] = [await dataset.sample(0), await dataset.sample(1)];
  assertEquals(deep.pictures, top.pictures);
});

Deno.test("a placeholder that is not one token is refused", async () => {
  await using source = await temporaryDataset([row("Yes.")]);
  const open = () => VlmDataset.open({ ...source, placeholder: "图" });
  assertThrows(open, UsageError, 'The placeholder "图", 4 times, is 12 tokens');
});

const golden = { name: "golden samples, as the original makes them", ...needsShared("golden") };
Deno.test(golden, async () => {
  const data = new URL("golden/data/", SHARED);
  const file = await Deno.readFile(new URL("samples.safetensors", data));
  const { tensors } = await readSafetensors(bytesSource("samples", file));
  const read = async (name: string) =>
    new Int32Array((await tensors.get(name)!.read()).buffer.slice(0));
  let cut = 0;
  for (const maxLength of [400, 640]) {
    using dataset = VlmDataset.open({
      dataPath: fromFileUrl(new URL("samples.jsonl", data)),
      imagesPath: fromFileUrl(new URL("images", data)),
      tokenizer: sharedTokenizer("minimind-v"),
      maxLength,
    });
    for (let i = 0; i < dataset.length; i++) {
      const [input, labels, lossMask] = await Promise.all(
        ["input_ids", "labels", "loss_mask"].map((name) => read(`${maxLength}.${i}.${name}`)),
      );
      const placeholders = input!.reduce((sum, id) => sum + (id === 34 ? 1 : 0), 0);
      if (placeholders % 196 !== 0) {
        await assertRejects(
          () => dataset.sample(i),
          DataError,
          `samples.jsonl:${i + 1}: picture 2`,
        );
        cut++;
        continue;
      }
      const { ids, mask, pictureStarts, pictures } = await dataset.sample(i);
      const padded = Int32Array.from({ length: maxLength }, (_, at) => ids[at] ?? 0);
      const marks = Int32Array.from({ length: maxLength }, (_, at) => mask[at] ?? 0);
      assertEquals(padded.slice(0, -1), input, `input ids of ${maxLength}.${i}`);
      assertEquals(padded.slice(1), labels, `labels of ${maxLength}.${i}`);
      assertEquals(marks.slice(1), lossMask, `loss mask of ${maxLength}.${i}`);
      assertEquals(pictureStarts.length, placeholders / 196);
      assert(pictures.every((pixels) => pixels.length === 3 * 224 * 224));
    }
  }
  assertEquals(cut, 1, "only the row of two pictures is cut at 400 tokens");
});

Deno.test("the folders of a model are below its root or where they are said to be", () => {
  const { out, vision, dataset } = modelFolder("root", { out: "/elsewhere" });
  assertEquals(out, "/elsewhere");
  assertEquals(vision, join("root", "model", "vision_model", "clip-vit-base-patch16"));
  assertEquals(dataset, join("root", "dataset"));
});

Deno.test("a tokenizer and a processor are read from their folders, or what is missing is named", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const write = (name: string, value: unknown) =>
      Deno.writeTextFile(join(folder, name), JSON.stringify(value));
    const refused = (action: () => Promise<unknown>, part: string) =>
      assertRejects(action, FormatError, part);
    await refused(() => loadTokenizer(folder), `tokenizer.json, which is not in ${folder}`);
    await write("tokenizer.json", files);
    await refused(() => loadTokenizer(folder), `tokenizer_config.json, which is not in ${folder}`);
    const { chat_template: _, ...bare } = config;
    await write("tokenizer_config.json", bare);
    await refused(() => loadTokenizer(folder), `In ${folder}: `);
    await Deno.writeTextFile(join(folder, "chat_template.jinja"), "{{ messages[0].content }}!");
    const { tokenizer, template, files: loaded } = await loadTokenizer(folder);
    assertEquals(tokenizer.encode("@"), [34]);
    assertEquals(template.render([{ role: "user", content: "Hi" }]), "Hi!");
    assertEquals(loaded.config.chat_template, "{{ messages[0].content }}!");
    await refused(() => loadImageProcessor(folder), "preprocessor_config.json, which is not in");
    await write("preprocessor_config.json", { size: 32, crop_size: 32 });
    assertEquals((await loadImageProcessor(folder)).processor.size, 32);
    await write("preprocessor_config.json", { size: "large" });
    await refused(() => loadImageProcessor(folder), `In ${folder}: preprocessor_config.json: size`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
