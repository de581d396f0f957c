import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { run } from "../cli/eval.ts";
import { VlmDataset } from "../data/dataset.ts";
import { readQuestion } from "../data/question.ts";
import { loadVlm, saveVlm } from "../data/vlm_files.ts";
import { DataError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import { packSamples } from "../model/batch.ts";
import { Random } from "../model/random.ts";
import { evaluate, exchange, type ItemResult } from "../train/evaluation/evaluate.ts";
import { measuresOf } from "../train/evaluation/measures.ts";
import { bestAndWorst, evaluationPage } from "../train/evaluation/page.ts";
import { choiceLikelihoods, sampleLosses } from "../train/evaluation/scoring.ts";
import { summarize } from "../train/evaluation/summary.ts";
import { measured } from "../model/metrics/bootstrap.ts";
import { gpuTest, testGpu } from "./support/gpu.ts";
import { makeOriginalFolder } from "./support/original_folder.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";
import { PICTURES } from "./support/vlm_data.ts";

const ROWS = [
  { image: "square.png", question: "What is it?", answers: ["a square", "square", "A square."] },
  { image: "tiny.png", text: "Is there a dog?", label: "no" },
  { image: "square.png", question: "Which?\nOptions: A: red, B: blue", answer: "B" },
  { image: "tiny.png", question: "Which?", choices: ["red", "blue", "green"], answer: "2" },
  { image: "none.png", question: "Gone?", answer: "yes" },
];

async function questionData(gpu: Gpu, body: (dataset: VlmDataset) => Promise<void>) {
  const before = gpu.memory.live;
  const dataPath = await Deno.makeTempFile({ suffix: ".jsonl" });
  try {
    await Deno.writeTextFile(dataPath, ROWS.map((row) => JSON.stringify(row)).join("\n"));
    using dataset = VlmDataset.open({
      dataPath,
      imagesPath: PICTURES,
      tokenizer: byteTokenizer(),
      preprocessor: { size: 32, crop_size: 32 },
      maxLength: 600,
      tokensPerPicture: 4,
    });
    await body(dataset);
  } finally {
    await Deno.remove(dataPath);
  }
  assertEquals(gpu.memory.live, before);
}

const OPTIONS = { rows: [0, 1, 2, 3, 4], generate: true, maxNewTokens: 6, blind: true };

gpuTest(
  "an evaluation is the same whatever the batch, and names rows it cannot use",
  (gpu) =>
    questionData(gpu, async (dataset) => {
      using model = tinyChatModel(gpu);
      const skipped: string[] = [];
      const all = await evaluate(model, dataset, {
        ...OPTIONS,
        batchSize: 8,
        onSkip: ({ message }) => skipped.push(message),
      });
      assertEquals(all.map(({ index }) => index), [0, 1, 2, 3]);
      assertEquals(skipped.length, 1);
      assert(skipped[0]!.includes("none.png"), skipped[0]);
      const two = await evaluate(model, dataset, { ...OPTIONS, batchSize: 2 });
      all.forEach((one, i) => {
        const other = two[i]!;
        assertEquals([one.said, one.answers, one.loss.tokens], [
          other.said,
          other.answers,
          other.loss.tokens,
        ]);
        assertAlmostEquals(one.loss.sum, other.loss.sum, 1e-3);
        for (const [name, value] of Object.entries(one.choices ?? {})) {
          assertAlmostEquals(value, other.choices![name]!, 1e-3);
        }
      });
      assertEquals(all.map(({ choices }) => Object.keys(choices ?? {}).join("")), [
        "",
        "YesNo",
        "AB",
        "ABC",
      ]);
      assert(all.every(({ blindLoss, loss }) => blindLoss && blindLoss.sum !== loss.sum));
    }),
);

gpuTest(
  "likelihoods of choices are those of each as an answer by itself",
  (gpu) =>
    questionData(gpu, async (dataset) => {
      using model = tinyChatModel(gpu);
      const { vlm } = model;
      const sample = await dataset.sample(0);
      const ids = sample.ids.slice(0, sample.mask.indexOf(1));
      const prompt = {
        ids,
        imageRows: Uint32Array.from({ length: 4 }, (_, i) => sample.pictureStarts[0]! + i),
        pictureCount: 1,
      };
      using features = gpu.detached(() =>
        vlm.encodePictures(new Uint8Array(sample.pictures[0]!), 1)
      );
      const alone = async (choice: readonly number[]) => {
        const longer = Uint32Array.from([...ids, ...choice]);
        const mask = Uint8Array.from(longer, (_, i) => Number(i >= ids.length));
        const [loss] = await sampleLosses(vlm, [{ ...sample, ids: longer, mask }], features);
        assertEquals(loss!.tokens, choice.length);
        return -loss!.sum;
      };
      for (const choices of [[[65], [66], [67]], [[65, 66], [67], [68, 69, 70]]]) {
        const [scores] = await choiceLikelihoods(vlm, [{ prompt, choices }], features);
        for (const [i, choice] of choices.entries()) {
          assertAlmostEquals(scores![i]!, await alone(choice), 1e-4);
        }
      }
      const batch = packSamples([sample], vlm.tokensPerPicture);
      using whole = gpu.detached(() => vlm.loss(batch, 1));
      const [own] = await sampleLosses(vlm, [sample], features);
      assertAlmostEquals(own!.sum, (await gpu.read(whole))[0]!, 1e-3);
    }),
);

const item = (over: Partial<ItemResult>): ItemResult => ({
  index: 0,
  question: "<image>\n<b>?",
  answers: ["Yes"],
  loss: { sum: 2, tokens: 2 },
  ...over,
});
const choose = (answer: string, said: string, index: number) =>
  item({
    index,
    answers: [answer],
    said,
    choices: { Yes: said === "Yes" ? -1 : -2, No: said === "Yes" ? -2 : -1 },
    category: index % 2 === 0 ? "even" : "odd",
  });

Deno.test("measures are what they are by hand", () => {
  const items = [
    choose("Yes", "Yes", 0),
    choose("Yes", "No", 1),
    choose("No", "Yes", 2),
    choose("No", "No", 3),
    choose("Yes", "Yes", 4),
    item({ index: 5, answers: ["A dog."], said: "the dog", loss: { sum: 6, tokens: 2 } }),
    item({ index: 6, answers: ["red"], said: "<i>blue", blindLoss: { sum: 5, tokens: 2 } }),
  ];
  const found = Object.fromEntries(measuresOf(items).map((one) => [one.name, measured(one)]));
  const expected = {
    loss: 18 / 14,
    perplexity: Math.exp(18 / 14),
    blind_loss: 2.5,
    blind_gap: 1.5,
    accuracy: 3 / 5,
    precision: 2 / 3,
    recall: 2 / 3,
    f1: 2 / 3,
    yes_share: 3 / 5,
    "accuracy: even": 2 / 3,
    "accuracy: odd": 1 / 2,
    exact_match: 1 / 2,
    vqa_accuracy: 1 / 2,
  };
  for (const [name, value] of Object.entries(expected)) {
    assertAlmostEquals(found[name]!, value, 1e-12);
  }
  const models = [{ name: "a", items }, { name: "<b>", items }];
  const measures = summarize(models, 1);
  assertEquals(measures.find(({ name }) => name === "accuracy")!.difference, {
    value: 0,
    low: 0,
    high: 0,
  });
  assertEquals(summarize(models, 1), measures);
  const summary = {
    data: "<script>",
    rows: 7,
    skipped: ["<u>"],
    settings: {},
    models: ["a", "<b>"],
    measures,
  };
  const { best, worst } = bestAndWorst(items);
  assertEquals([...best, ...worst].length, 7);
  const page = evaluationPage(summary, models, new Map([[5, [Uint8Array.of(1)]]]));
  for (const tag of ["<script", "<b>", "<i>", "<u>"]) assert(!page.includes(tag), tag);
  assert(page.includes("data:image/png;base64,AQ=="));
});

Deno.test("pictures are exchanged for other ones only", () => {
  const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)];
  assertEquals(exchange([a, a, b]), [2, 2, 0]);
  assertEquals(exchange([a, a]), undefined);
  assertEquals(exchange([]), undefined);
});

Deno.test("questions of benchmarks become conversations", () => {
  const asked = (row: Record<string, unknown>) => readQuestion(row, 1)!;
  const turns = (row: Record<string, unknown>) =>
    (asked(row).conversations as { content: string }[]).map(({ content }) => content);
  const pope = { question_id: 1, image: "a.jpg", text: "Is there a cat?", label: "yes" };
  assertEquals(turns(pope), ["<image>\nIs there a cat?", "Yes"]);
  assertEquals(asked(pope).choices, ["Yes", "No"]);
  const mmstar = {
    question: "Which?\nOptions: A: A cat, B: two, C: E. coli, D: none",
    answer: "C",
    category: "x",
  };
  assertEquals(asked(mmstar).choices, ["A", "B", "C", "D"]);
  assertEquals(asked(mmstar).category, "x");
  assertEquals(turns({ question: "Where?", options: ["here", "there"], answer: "there" }), [
    "<image>\nWhere?\nA. here\nB. there\nAnswer with the option's letter from the given choices directly.",
    "B",
  ]);
  const vqa = { question: "What?", answers: [{ answer: "a" }, { answer: "b" }, { answer: "b" }] };
  assertEquals([turns(vqa)[1], asked(vqa).answers], ["b", ["a", "b", "b"]]);
  assertEquals(readQuestion({ conversations: [] }, 1), undefined);
  assertEquals(readQuestion({ image: "a.png", text: "A caption, no question." }, 1), undefined);
  assertThrows(() => asked({ question: "Who?" }), DataError);
  assertThrows(() => asked({ question: "Who?", choices: ["a", "b"], answer: "z" }), DataError);
});

Deno.test({
  name: "the command measures two weights on conversations, POPE's and MMStar's files",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const gpu = await testGpu();
    const dir = await Deno.makeTempDir();
    try {
      await makeOriginalFolder(dir);
      {
        const language = { hidden_size: 64 };
        const vision = join(dir, "model/vision_model/clip-vit-base-patch16");
        const { vlm } = await loadVlm(gpu, { language, vision, random: new Random(7) });
        using _ = vlm;
        await saveVlm(vlm, join(dir, "out/drawn_64.pth"));
      }
      const images = join(dir, "dataset/pretrain_images");
      const common = ["--root", dir, "--hidden_size", "64", "--weight", "llm", "--device"];
      const read = async (out: string) =>
        JSON.parse(await Deno.readTextFile(join(out, "results.json")));
      const evaluated = async (name: string, path: string, ...more: string[]) => {
        const out = join(dir, name);
        const flags = ["--data_path", path, "--out", out, "--max_new_tokens", "4", ...more];
        const device = Deno.env.get("GLIMPSE_DEVICE") ?? "gpu";
        assertEquals(await run([...common, device, ...flags]), 0);
        return await read(out);
      };
      const data = join(dir, "dataset/pretrain_data.jsonl");
      const compared = await evaluated("a", data, "--compare", "drawn", "--rows", "2");
      assertEquals([compared.rows, compared.models], [2, ["llm", "drawn"]]);
      const names = compared.measures.map(({ name }: { name: string }) => name);
      for (const name of ["loss", "perplexity", "blind_gap", "bleu_4", "rouge_l", "cider"]) {
        assert(names.includes(name), name);
      }
      const { name, values, difference } = compared.measures[0];
      assertEquals(name, "loss");
      assertAlmostEquals(difference.value, values[1].value - values[0].value, 1e-12);
      assert(difference.value !== 0 && difference.low <= difference.high);
      const page = await Deno.readTextFile(join(dir, "a/results.html"));
      assert(page.includes("data:image/png;base64,") && !page.includes("<script"));
      assert((await Deno.readTextFile(join(dir, "a/results.md"))).includes("| BLEU-4 | 2 |"));
      assertEquals(await evaluated("b", data, "--compare", "drawn", "--rows", "2"), compared);

      const pope = join(dir, "coco_pope_random.json");
      await Deno.writeTextFile(
        pope,
        ["yes", "no"].map((label, i) =>
          JSON.stringify({
            question_id: i,
            image: ["circle.png", "square.jpg"][i],
            text: "Is there a circle in the image?",
            label,
          })
        ).join("\n"),
      );
      const yesNo = await evaluated("c", pope, "--images_path", images);
      const value = (name: string) =>
        yesNo.measures.find((one: { name: string }) => one.name === name)?.values[0].value;
      assert([0, 0.5, 1].includes(value("accuracy")));
      assertEquals(Object.keys(yesNo.results[0].items[0].choices), ["Yes", "No"]);

      const mmstar = join(dir, "mmstar.parquet");
      const bytes = await Deno.readFile(join(images, "circle.png"));
      const buffer = parquetWriteBuffer({
        columnData: [
          { name: "index", data: [0], type: "INT32" },
          {
            name: "question",
            data: ["Which?\nOptions: A: red, B: blue, C: green"],
            type: "STRING",
          },
          { name: "image", data: [bytes], type: "BYTE_ARRAY" },
          { name: "answer", data: ["B"], type: "STRING" },
          { name: "category", data: ["coarse perception"], type: "STRING" },
        ],
      });
      await Deno.writeFile(mmstar, new Uint8Array(buffer));
      const letters = await evaluated("d", mmstar);
      assertEquals(Object.keys(letters.results[0].items[0].choices), ["A", "B", "C"]);
      assertEquals(letters.results[0].items[0].category, "coarse perception");
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
