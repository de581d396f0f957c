import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { ChatSession, type ChatSettings } from "../cli/chat_session.ts";
import { type Key, type KeyName, KeyReader, printable } from "../cli/keys.ts";
import { columns, LineEditor, placeAfter } from "../cli/line_editor.ts";
import { paths } from "../cli/option_kinds.ts";
import { parseOptions } from "../cli/options.ts";
import { fromPlanes, pictureProtocol, pictureSequence } from "../cli/terminal_picture.ts";
import { TextLineStream } from "../cli/text_lines.ts";
import { DataError, UsageError } from "../kernels/runtime/errors.ts";
import type { Answer } from "../serve/answer.ts";
import { Engine } from "../serve/engine.ts";
import { gpuTest } from "./support/gpu.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";
import { PICTURES } from "./support/vlm_data.ts";

const SETTINGS: ChatSettings = {
  temperature: 0,
  top_p: 1,
  top_k: 0,
  repetition_penalty: 1,
  max_new_tokens: 8,
  seed: -1,
};

async function said(chat: ChatSession, answer: Answer): Promise<string> {
  const text = (await Array.fromAsync(answer)).map(({ text }) => text).join("");
  chat.answered(text);
  return text;
}

gpuTest("a conversation of several turns reads only what is new, and is saved", async (gpu) => {
  using model = tinyChatModel(gpu);
  await using engine = new Engine(model, { slots: 1, capacity: 400 });
  const chat = new ChatSession(engine, SETTINGS, "You see.");
  const picture = join(PICTURES, "square.png");
  await chat.show(picture);
  await assertRejects(() => chat.show("none.png"), DataError, "none.png");
  assertEquals(chat.pictures.length, 1);
  const first = chat.ask("What is this?");
  const text = await said(chat, first);
  assertEquals([chat.pictures.length, first.cachedTokens], [0, 0]);
  const again = chat.again();
  assertEquals(await said(chat, again), text);
  assertEquals(again.cachedTokens, first.promptTokens - 1);
  const second = chat.ask("And now?");
  await said(chat, second);
  assert(second.cachedTokens >= first.promptTokens, "the picture was read again");

  const folder = await Deno.makeTempDir();
  const [json, markdown] = [join(folder, "a.json"), join(folder, "a.md")];
  assertEquals(await chat.obey(`/save ${json}`), `Saved to ${json}.`);
  await chat.obey(`/save ${markdown}`);
  const { messages } = JSON.parse(await Deno.readTextFile(json));
  assertEquals(messages.map(({ role }: { role: string }) => role), [
    "user",
    "assistant",
    "user",
    "assistant",
  ]);
  assertEquals(messages[0].content[0].image_url.url, picture);
  assertEquals(messages[1].content, text);
  assert(
    (await Deno.readTextFile(markdown)).startsWith(`**You**\n\n![](<${picture}>)\n\nWhat is this?`),
  );
  await Deno.remove(folder, { recursive: true });

  await chat.obey("/clear");
  assertThrows(() => chat.again(), UsageError);
});

gpuTest(
  "a picture is fetched from where it is typed, and on from there to public places alone",
  async (gpu) => {
    const picture = await Deno.readFile(join(PICTURES, "square.png"));
    const host = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/a.png") return new Response(picture);
      if (pathname === "/away") {
        return Response.redirect("http://localhost:1/a.png");
      }
      return new Response(null, { status: 404 });
    });
    using model = tinyChatModel(gpu);
    await using engine = new Engine(model, { slots: 1, capacity: 100 });
    const chat = new ChatSession(engine, SETTINGS);
    const at = (path: string) => `http://127.0.0.1:${host.addr.port}${path}`;
    const { path, file } = await chat.show(at("/a.png"));
    assertEquals([path, file], [at("/a.png"), picture]);
    await assertRejects(() => chat.show(at("/away")), DataError, "localhost");
    await assertRejects(() => chat.show(at("/none")), DataError, "404");
    await assertRejects(
      () => chat.show("http://127.0.0.1:1/a.png"),
      DataError,
      "could not be fetched. Fetch",
    );
    await assertRejects(() => chat.show("http://"), UsageError);
    await assertRejects(() => chat.show(at("/a.png"), AbortSignal.abort()), DataError, "wanted");
    assertEquals(chat.pictures.length, 1);
    await host.shutdown();
  },
);

Deno.test({
  name: "where the network is not permitted, a picture's URL is refused with what to type",
  permissions: { net: false },
  fn: async () => {
    const chat = new ChatSession({} as Engine, SETTINGS);
    await assertRejects(() => chat.show("https://a.example/a.png"), UsageError, "chat:net");
  },
});

gpuTest("commands change settings and refuse what they do not know", async (gpu) => {
  using model = tinyChatModel(gpu);
  await using engine = new Engine(model, { slots: 1, capacity: 100 });
  const chat = new ChatSession(engine, SETTINGS);
  assertEquals(await chat.obey("/set temperature 0.2"), "temperature 0.2");
  assertEquals(await chat.obey("/set top-k=5"), "top_k 5");
  assertEquals([chat.settings.temperature, chat.settings.top_k], [0.2, 5]);
  assert((await chat.obey("/set")).includes("temperature 0.2\n"));
  assert((await chat.obey("/help")).includes("/image PATH"));
  for (
    const line of [
      "/set temperature",
      "/set temperature x",
      "/set top_k 1.5",
      "/set top_p 2",
      "/set nope 1",
      "/sav x",
      "/save",
    ]
  ) {
    await assertRejects(() => chat.obey(line), UsageError, undefined, line);
  }
  await assertRejects(() => chat.obey("/hlp"), UsageError, "Did you mean /help?");
});

function keys(text: string): Key[] {
  return new KeyReader().push(new TextEncoder().encode(text));
}

/** A line after some keys; names stand between angle brackets. */
function typed(editor: LineEditor, text: string): LineEditor {
  for (const [, name, plain] of text.matchAll(/<(\w+)>|([^<]+)/g)) {
    editor.press(name ? { name: name as KeyName } : { text: plain! });
  }
  return editor;
}

Deno.test("keys are read from what a terminal sends, however it is cut", () => {
  assertEquals(keys("aé你\x1b[A\x1bOB\x7f\r"), [
    { text: "aé你" },
    { name: "up" },
    { name: "down" },
    { name: "backspace" },
    { name: "enter" },
  ]);
  assertEquals(keys("\x03\x04\x01\x05\x1b[1;5D\x1b[3~\x1b[99~x"), [
    { name: "interrupt" },
    { name: "close" },
    { name: "home" },
    { name: "end" },
    { name: "wordLeft" },
    { name: "delete" },
    { text: "x" },
  ]);
  assertEquals(keys("\x1b[200~a\r\nb\x1b[31mc\x1b[201~d"), [{ text: "a\nb[31mc" }, { text: "d" }]);
  const reader = new KeyReader();
  const bytes = new TextEncoder().encode("你\x1b[A");
  assertEquals([...bytes].flatMap((byte) => reader.push(Uint8Array.of(byte))), [{ text: "你" }, {
    name: "up",
  }]);
});

Deno.test("a line is edited, and earlier lines come back", () => {
  const editor = new LineEditor();
  const text = (keys: string) => typed(editor, keys).text;
  assertEquals(text("helo<left>l<end>!"), "hello!");
  assertEquals(text("<home><delete>J<killToEnd>"), "J");
  assertEquals(text("<killLine>one two  three<killWord><killWord>x"), "one x");
  assertEquals(text("<wordLeft><wordLeft>a <end><backspace>👨‍👩‍👧<backspace>"), "a one ");
  assertEquals(editor.before, "a one ");
  assertEquals(editor.press({ name: "enter" }), "submit");
  assertEquals(editor.take(), "a one ");
  assertEquals(editor.press({ name: "close" }), "close");
  typed(editor, "second").take();
  assertEquals(text("draft<up>"), "second");
  assertEquals(text("<up><up>"), "a one ");
  assertEquals(text("<down><down>"), "draft");
  assertEquals(text("<newline>b"), "draft\nb");
  assertEquals(editor.press({ name: "interrupt" }), "interrupt");
});

Deno.test("the cursor stands where wide characters and full lines put it", () => {
  assertEquals([columns("ab"), columns("你好"), columns("é🙂")], [2, 4, 3]);
  assertEquals(placeAfter("abc", 10), { row: 0, column: 3 });
  assertEquals(placeAfter("a\nbc", 10), { row: 1, column: 2 });
  assertEquals(placeAfter("abcde", 5), { row: 1, column: 0 });
  assertEquals(placeAfter("abcd你", 5), { row: 1, column: 2 });
});

Deno.test("a terminal obeys nothing that stands in a text", () => {
  assertEquals(printable("a\x1b]0;x\x07\tb\n\x9bc\r"), "a]0;x\tb\nc");
});

Deno.test("pictures in the protocols of terminals", () => {
  const variables = (all: Record<string, string>) => pictureProtocol((name) => all[name]);
  assertEquals(variables({ TERM: "xterm-kitty" }), "kitty");
  assertEquals(variables({ TERM: "tmux-256color", KITTY_WINDOW_ID: "1" }), "none");
  assertEquals(variables({ TERM: "xterm-256color", TERM_PROGRAM: "iTerm.app" }), "iterm");
  assertEquals(variables({ TERM: "foot" }), "sixel");
  assertEquals(variables({ TERM: "xterm-256color" }), "none");
  // red, green / blue, white
  const pixels = fromPlanes(Uint8Array.of(255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255), 2);
  assertEquals([...pixels.data], [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]);
  const file = Uint8Array.of(1, 2, 3);
  assertEquals(pictureSequence("none", pixels, file), "");
  assertEquals(
    pictureSequence("kitty", pixels, file),
    `\x1b_Ga=T,f=24,s=2,v=2,r=10,q=2,m=0;${pixels.data.toBase64()}\x1b\\\n`,
  );
  assert(pictureSequence("iterm", pixels, file).includes(`:${file.toBase64()}\x07`));
  assertEquals(
    pictureSequence("sixel", pixels, file),
    `\x1bPq"1;1;2;2#180;2;100;0;0#30;2;0;100;0#5;2;0;0;100#215;2;100;100;100` +
      `#180@?$#30?@$#5A?$#215?A\x1b\\\n`,
  );
});

Deno.test("an option may be given several times where it says so", () => {
  const table = { image: paths({ help: "Pictures." }) };
  assertEquals(parseOptions(table, ["--image", "a", "--image=b,c"]).image, ["a", "b,c"]);
  assertEquals(parseOptions(table, []).image, []);
});

Deno.test("lines come whole, however the text is cut", async () => {
  const lines = ReadableStream.from(["a\nb", "c\r\n", "", "d"]).pipeThrough(new TextLineStream());
  assertEquals(await Array.fromAsync(lines), ["a", "bc", "d"]);
});
