import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { run as chat } from "../cli/chat.ts";
import { run } from "../cli/eval.ts";
import { run as serve } from "../cli/serve.ts";
import { writeFileAtomic } from "../data/files.ts";
import { openRows } from "../data/open_rows.ts";
import { openWeights } from "../data/open_weights.ts";
import { DataError, FormatError, GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { vqaAccuracy } from "../model/metrics/vqa.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import { hostTensor, toFloat32 } from "../model/host_tensor.ts";
import { pthChunks } from "../model/pth_writer.ts";
import { folderTest, makeOriginalFolder } from "./support/original_folder.ts";

const PEOPLE = ["yes", "yes", "yes", "no", "no", "no", "no", "no", "no", "Yes."];

/** VQA's files of two questions about a picture each, in the folders that its page asks for. */
async function makeVqaFiles(dir: string): Promise<string> {
  const common = { data_type: "mscoco", data_subtype: "val2014" };
  const ids = [262148000, 393225001];
  const questions = ids.map((question_id) => ({
    image_id: Math.floor(question_id / 1000),
    question: "Is it?",
    question_id,
  }));
  const annotations = ids.toReversed().map((question_id, i) => ({
    question_id,
    question_type: "is it",
    answer_type: ["other", "yes/no"][i],
    multiple_choice_answer: "no",
    answers: PEOPLE.map((answer, i) => ({ answer, answer_confidence: "yes", answer_id: i + 1 })),
  }));
  const write = async (path: string, value: unknown) => {
    await Deno.mkdir(join(dir, path, ".."), { recursive: true });
    await Deno.writeTextFile(join(dir, path), JSON.stringify(value));
  };
  await write("Questions/v2_OpenEnded_mscoco_val2014_questions.json", { ...common, questions });
  await write("Annotations/v2_mscoco_val2014_annotations.json", { ...common, annotations });
  return join(dir, "Questions/v2_OpenEnded_mscoco_val2014_questions.json");
}

Deno.test("VQA's files are rows of a picture, a question and what ten people said", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const path = await makeVqaFiles(dir);
    using rows = openRows(path);
    assertEquals(rows.length, 2);
    const row = rows.row(0) as Record<string, unknown>;
    assertEquals(row.image, "COCO_val2014_000000262148.jpg");
    assertEquals((row.answers as { answer: string }[]).map(({ answer }) => answer), PEOPLE);
    assertEquals([row.category, row.question_id], ["yes/no", 262148000]);
    assertThrows(() => rows.row(2), DataError, "2 rows");
    await Deno.remove(join(dir, "Annotations"), { recursive: true });
    assertThrows(() => openRows(path), DataError, "v2_mscoco_val2014_annotations.json");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test({
  name: "eval measures VQA, names what it cannot use, and takes a tokenizer and a precision",
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    const dir = await Deno.makeTempDir();
    try {
      await makeOriginalFolder(dir);
      const device = Deno.env.get("GLIMPSE_DEVICE") ?? "gpu";
      const common = ["--root", dir, "--hidden_size", "64", "--weight", "llm", "--device", device];
      const described = async (...more: string[]) =>
        await run([...common, "--max_new_tokens", "2", ...more]);

      const images = join(dir, "images");
      await Deno.mkdir(images);
      await Deno.writeTextFile(join(images, "a_broken.png"), "no picture");
      await assertRejects(() => described("--image_dir", images), DataError, "No picture");
      await Deno.copyFile(
        join(dir, "dataset/eval_images/circle.png"),
        join(images, "COCO_val2014_000000262148.jpg"),
      );
      assertEquals(await described("--image_dir", images), 0);
      await assertRejects(
        () => described("--image_dir", images, "--out", dir),
        UsageError,
        "--out has no effect without --data_path",
      );
      await assertRejects(
        () => described("--image_dir", images, "--on_bad_sample", "stop"),
        DataError,
        "a_broken.png",
      );

      await assertRejects(
        () => described("--load_from", join(dir, "nowhere")),
        GlimpseError,
        "nowhere; --load_from names one in transformers' format",
      );

      const tokenizer = join(dir, "elsewhere");
      await Deno.mkdir(tokenizer);
      for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
        await Deno.rename(join(dir, "model", name), join(tokenizer, name));
      }
      await assertRejects(() => described("--image_dir", images), FormatError, "tokenizer.json");
      const own = ["--tokenizer_path", tokenizer];
      assertEquals(await described("--image_dir", images, ...own, "--dtype", "bfloat16"), 0);

      const more = join(dir, "more");
      await Deno.mkdir(more);
      const { tokenizer: files, config } = byteTokenizer();
      const { vocab } = files.model as { vocab: Record<string, number> };
      for (let id = Object.keys(vocab).length; id <= 6400; id++) vocab[`token ${id}`] = id;
      await Deno.writeTextFile(join(more, "tokenizer.json"), JSON.stringify(files));
      await Deno.writeTextFile(join(more, "tokenizer_config.json"), JSON.stringify(config));
      await assertRejects(
        () => described("--image_dir", images, "--tokenizer_path", more),
        FormatError,
        "but the model has 6400: its weights were made with another one",
      );

      const measured = async (out: string, ...more: string[]) => {
        const path = await makeVqaFiles(dir);
        const flags = ["--data_path", path, "--images_path", images, "--out", join(dir, out)];
        return await run([...common, ...own, ...flags, "--max_new_tokens", "3", ...more]);
      };
      await assertRejects(
        () => measured("stopped", "--on_bad_sample", "stop"),
        DataError,
        "COCO_val2014_000000393225.jpg",
      );
      await assertRejects(
        () => measured("none", "--max_seq_len", "2"),
        DataError,
        "No row of the data can be used, the first because: ",
      );
      for (const out of ["stopped", "none"]) { // nothing is made before there are results
        await assertRejects(() => Deno.stat(join(dir, out)), Deno.errors.NotFound);
      }
      await assertRejects(
        () => measured("images/a_broken.png"),
        GlimpseError,
        "Cannot write to the folder",
      );
      assertEquals(await measured("results", "--dtype", "bfloat16"), 0);
      const read = async (name: string) =>
        JSON.parse(await Deno.readTextFile(join(dir, "results", name)));
      const results = await read("results.json");
      assertEquals([results.rows, results.skipped.length], [1, 1]);
      const [{ id, said, answers }] = results.results[0].items;
      assertEquals([id, answers.length], ["262148000", 10]);
      const value = (name: string) =>
        results.measures.find((one: { name: string }) => one.name === name)?.values[0].value;
      for (const name of ["vqa_accuracy", "vqa_accuracy: yes/no"]) {
        assertAlmostEquals(value(name), vqaAccuracy(said, PEOPLE));
      }
      assert(said !== undefined);
      assertEquals(await read("llm_answers.json"), [{ question_id: 262148000, answer: said }]);

      await Deno.mkdir(join(dir, "out/other"));
      await Deno.copyFile(join(dir, "out/llm_64.pth"), join(dir, "out/other/llm_64.pth"));
      const fast = ["--blind", "0", "--dtype", "bfloat16"];
      assertEquals(await measured("results", "--compare", "other/llm", ...fast), 0);
      assertEquals((await read("results.json")).models, ["llm", "other/llm"]);
      assertEquals(await read("other_llm_answers.json"), await read("llm_answers.json"));
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

folderTest("eval, chat and serve refuse weights that are not finite", async (dir) => {
  const path = join(dir, "out", "llm_64.pth");
  {
    await using file = await openWeights(path);
    const tensors = await Promise.all([...file.tensors.values()].map(async (tensor) => {
      const values = toFloat32(await tensor.read(), tensor.dtype).slice();
      if (tensor.name === "model.norm.weight") values[3] = NaN;
      return hostTensor(tensor.name, tensor.shape, values);
    }));
    await writeFileAtomic(path, pthChunks(tensors, "llm_64"));
  }
  const device = Deno.env.get("GLIMPSE_DEVICE") ?? "gpu";
  const given = ["--root", dir, "--hidden_size", "64", "--weight", "llm", "--device", device];
  for (const command of [run, chat, serve]) {
    await assertRejects(
      () => command(given),
      FormatError,
      "llm_64.pth cannot be used: model.norm.weight holds NaN or infinity (1 of its 64 numbers).",
    );
  }
});
