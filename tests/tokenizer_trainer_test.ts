import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { run } from "../cli/tokenizer.ts";
import { readTexts } from "../data/texts.ts";
import { DataError, GlimpseError } from "../kernels/runtime/errors.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { trainTokenizer, WordCounts } from "../model/tokenizer_trainer.ts";

function learn(texts: readonly string[], vocabSize: number): Tokenizer {
  const words = new WordCounts();
  for (const text of texts) words.add(text);
  const { tokenizer, config } = trainTokenizer(words, { vocabSize });
  return new Tokenizer(tokenizer, config);
}

Deno.test("frequent pairs become tokens, the most frequent first", () => {
  // "ab" 5 times, "abc" 3 of them; "xy" 2 times; "z" joins nothing
  const tokenizer = learn(["abc abc abc ab ab", "xy xy z"], 400);
  assertEquals(tokenizer.idOf("ab"), 259);
  assertEquals(tokenizer.encode("ab").length, 1);
  assertEquals(tokenizer.encode(" abc").length, 1);
  assertEquals(tokenizer.encode("xy").length, 1);
  assertEquals(tokenizer.encode("zz").length, 2);
  assert(tokenizer.vocabSize < 270);
});

Deno.test("the vocabulary ends where it was asked to", () => {
  assertEquals(learn(["abc abc abc ab ab", "xy xy z"], 261).vocabSize, 261);
  assertEquals(learn(["abc"], 259).vocabSize, 259);
});

Deno.test("a picture's placeholder stays a token of its own, and special tokens too", () => {
  const tokenizer = learn(Array(9).fill("@@@@ a@b @@@@\n<|im_end|><|im_end|>"), 600);
  assertEquals(tokenizer.encode("@".repeat(9)), Array(9).fill(34));
  assertEquals(tokenizer.encode("<|im_start|>@<|im_end|>"), [1, 34, 2]);
});

Deno.test("Chinese questions that come again and again are not one token", () => {
  const question = "这张图片里有什么颜色的形状";
  const tokenizer = learn(Array(50).fill(question), 2000);
  const tokens = tokenizer.encode(question);
  assert(tokens.length >= 5, `${tokens.length} tokens`);
  assert(tokens.length < 12, `${tokens.length} tokens`);
  assertEquals(tokenizer.decode(tokens), question);
});

Deno.test("the command writes what transformers loads", async () => {
  const root = await Deno.makeTempDir();
  try {
    const data = join(root, "rows.jsonl");
    const rows = [{ text: "the red ring" }, {
      conversations: [{ role: "user", content: "the ring?" }, { content: "红色的圆环" }],
    }];
    await Deno.writeTextFile(data, rows.map((row) => JSON.stringify(row) + "\n").join(""));
    await Deno.writeTextFile(join(root, "b.txt"), "the\nring");
    assertEquals(await Array.fromAsync(readTexts(data)), [
      "the red ring",
      "the ring?",
      "红色的圆环",
    ]);
    assertEquals(await Array.fromAsync(readTexts(join(root, "b.txt"))), ["the\n", "ring"]);
    const paths = `${data},${join(root, "b.txt")}`;
    assertEquals(await run(["--root", root, "--data_path", paths, "--vocab_size", "330"]), 0);
    const read = async (name: string) =>
      JSON.parse(await Deno.readTextFile(join(root, "model", name)));
    const tokenizer = new Tokenizer(
      await read("tokenizer.json"),
      await read("tokenizer_config.json"),
    );
    assertEquals(tokenizer.encode("the").length, 1);

    assertEquals(await run(["--root", root, "--data_path", paths, "--vocab_size", "330"]), 0);
    const other = ["--root", root, "--data_path", data, "--vocab_size", "300"];
    await assertRejects(() => run(other), GlimpseError, "tokenizer.json is there and differs");
    assertEquals((await read("tokenizer.json")).model.vocab["the"], tokenizer.encode("the")[0]);
    assertEquals(await run([...other, "--force"]), 0);
    await Deno.writeTextFile(join(root, "b.txt"), "");
    const none = ["--root", root, "--force", "--data_path", join(root, "b.txt")];
    await assertRejects(() => run(none), DataError, "There is no text in");

    await Deno.writeTextFile(data, '{"image": "a.png"}\n');
    const error = await run(["--root", root, "--data_path", data]).then(() => undefined, (e) => e);
    assert(error instanceof DataError && error.message.includes(":1"), String(error));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
