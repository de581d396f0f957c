import { assert, assertEquals, assertThrows } from "@std/assert";
import { DataError, UsageError } from "../kernels/runtime/errors.ts";
import { byteTokenizer, type TokenizerFiles } from "../model/byte_tokenizer.ts";
import { bytesSource } from "../model/bytes.ts";
import { ChatTemplate } from "../model/chat_template.ts";
import { type ConversationOptions, encodeConversation } from "../model/loss_mask.ts";
import { readSafetensors } from "../model/safetensors.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { needsShared, SHARED, sharedTokenizer } from "./support/tokenizers.ts";

const PICTURE = "@".repeat(196);

function reader(files: TokenizerFiles = byteTokenizer()) {
  const tokenizer = new Tokenizer(files.tokenizer, files.config);
  const template = ChatTemplate.fromConfig(files.config);
  const encode = (conversations: unknown, maxLength: number, more?: Partial<ConversationOptions>) =>
    encodeConversation(tokenizer, template, conversations, {
      maxLength,
      imagePlaceholder: PICTURE,
      ...more,
    });
  return { tokenizer, encode };
}

const turns = (...contents: string[]) => contents.map((content) => ({ role: "any", content }));

function rows(): { conversations: unknown }[] {
  const url = new URL("fixtures/data/samples.jsonl", import.meta.url);
  return Deno.readTextFileSync(url).trim().split("\n").map((line) => JSON.parse(line));
}

Deno.test({
  name: "padded and shifted, rows equal those of the original's dataset",
  ...needsShared("golden/data/samples.safetensors"),
  async fn() {
    const { tokenizer, encode } = reader(sharedTokenizer("minimind-v"));
    const bytes = Deno.readFileSync(new URL("golden/data/samples.safetensors", SHARED));
    const { tensors } = await readSafetensors(bytesSource("samples", bytes));
    const golden = async (name: string) => {
      const { dtype, shape, read } = tensors.get(name)!;
      assertEquals([dtype, shape.length], ["int32", 1]);
      return [...new Int32Array((await read()).slice().buffer)];
    };
    for (const maxLength of [400, 640]) {
      for (const [row, { conversations }] of rows().entries()) {
        const { ids, mask } = encode(conversations, maxLength);
        const padded = new Array(maxLength).fill(tokenizer.padId);
        const marks = new Array(maxLength).fill(0);
        ids.forEach((id, i) => padded[i] = id);
        mask.forEach((mark, i) => marks[i] = mark);
        const key = `${maxLength}.${row}`;
        assertEquals(padded.slice(0, -1), await golden(`${key}.input_ids`), key);
        assertEquals(padded.slice(1), await golden(`${key}.labels`), key);
        assertEquals(marks.slice(1), await golden(`${key}.loss_mask`), key);
      }
    }
  },
});

Deno.test("the mask has the answers, their ends and one token more", () => {
  const { tokenizer, encode } = reader();
  const { ids, mask, truncated } = encode(turns("q", "first", "q", "second"), 500);
  const marked = (at: number[]) => tokenizer.decode(at.map((i) => ids[i]!));
  const places = Array.from(mask.keys()).filter((i) => mask[i] === 1);
  assertEquals(marked(places), "first<|im_end|>\nsecond<|im_end|>\n");
  assertEquals(ids.length, mask.length);
  assertEquals(truncated, false);
  const [begin = 0] = places;
  assertEquals(
    tokenizer.decode(ids.slice(begin - 12, begin)),
    "\n<|im_start|>assistant\n",
  );
});

Deno.test("roles go by turn and every picture's mark is replaced", () => {
  const { tokenizer, encode } = reader();
  const { ids, images } = encode([
    { role: "assistant", content: "<image>a<image>" },
    { content: "$& b" },
  ], 1000);
  assertEquals(
    tokenizer.decode(ids),
    "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n" +
      `<|im_start|>user\n${PICTURE}a${PICTURE}<|im_end|>\n` +
      "<|im_start|>assistant\n$& b<|im_end|>\n",
  );
  assertEquals(images, 2);
});

Deno.test("truncation cuts ids and mask, and the pictures that it cuts are counted", () => {
  const { encode } = reader();
  const row = turns("<image><image>?", "yes");
  const whole = encode(row, 1000);
  assertEquals([whole.images, whole.cutImages, whole.truncated], [2, 0, false]);
  const start = whole.ids.indexOf(34);
  for (const [length, images] of [[0, 0], [195, 0], [196, 1], [391, 1], [392, 2]] as const) {
    const cut = encode(row, start + length);
    assertEquals([cut.images, cut.cutImages, cut.truncated], [images, 2 - images, true]);
    assertEquals(cut.ids, whole.ids.slice(0, start + length));
    assertEquals(cut.mask, new Uint8Array(start + length));
  }
  const end = whole.ids.length;
  const late = encode(row, end - 3);
  assertEquals(late.mask, whole.mask.slice(0, end - 3));
  assertEquals(encode(row, end).truncated, false);
});

/** The byte tokenizer with this template in the place of its own. */
function templated(chat_template: string) {
  const files = byteTokenizer();
  return reader({ ...files, config: { ...files.config, chat_template } });
}

const BARE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}";

Deno.test("where an answer's end is the last token, the padding after it is marked", () => {
  const { tokenizer, encode } = templated(BARE + "<|im_end|>");
  const { ids, mask } = encode(turns("q", "a"), 100);
  assertEquals(tokenizer.decode(ids.slice(-3)), "a<|im_end|><|endoftext|>");
  assertEquals([...mask.slice(-4)], [0, 1, 1, 1]);
  const full = encode(turns("q", "a"), ids.length - 1);
  assertEquals(full.ids, ids.slice(0, -1));
  assertEquals(full.truncated, false);
});

Deno.test("an answer without an end is marked to the length, as the original does", () => {
  const { tokenizer, encode } = templated(BARE);
  const { ids, mask } = encode(turns("q", "a"), 40);
  assertEquals([ids.length, ids.at(-1)], [40, tokenizer.padId]);
  assertEquals(
    mask.indexOf(1),
    tokenizer.encode("<|im_start|>user\nq<|im_start|>assistant\n").length,
  );
  assert(mask.slice(mask.indexOf(1)).every((mark) => mark === 1));
});

Deno.test("a conversation without an answer has no mark", () => {
  const { encode } = reader();
  const { mask } = encode(turns("q"), 200);
  assertEquals(mask, new Uint8Array(mask.length));
});

Deno.test("placeholder and marks of an answer are parameters", () => {
  const { tokenizer, encode } = reader();
  const { ids, mask, images } = encode(turns("<pic>", "a"), 300, {
    imageToken: "<pic>",
    imagePlaceholder: "<|endoftext|>".repeat(3),
    answerStart: "<|im_start|>user",
    answerEnd: "\n",
  });
  assertEquals(images, 1);
  assertEquals(tokenizer.decode(ids).split("<|endoftext|>").length, 4);
  assertEquals(mask.lastIndexOf(1) - mask.indexOf(1), 0);
});

Deno.test("rows that are no conversations are data errors", () => {
  const { encode } = reader();
  for (const bad of [undefined, null, "text", [], {}]) {
    assertThrows(() => encode(bad, 10), DataError, "conversations");
  }
  assertThrows(() => encode([...turns("a"), { content: 3 }], 10), DataError, "Turn 2");
  assertThrows(() => encode([null], 10), DataError, "Turn 1");
  assertThrows(() => encode(turns("a"), 0), UsageError, "0");
});
