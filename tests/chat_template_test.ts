import { assertEquals, assertThrows } from "@std/assert";
import { FormatError } from "../kernels/runtime/errors.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import {
  type ChatMessage,
  ChatTemplate,
  type ChatTemplateOptions,
} from "../model/chat_template.ts";
import { needsShared, readFixture, sharedTokenizer } from "./support/tokenizers.ts";

interface Golden {
  messages: ChatMessage[];
  options: Record<string, unknown>;
  text: string;
}

function checkGolden(template: ChatTemplate, cases: Golden[]): void {
  for (const { messages, options: { add_generation_prompt, ...options }, text } of cases) {
    const all = { ...options, addGenerationPrompt: add_generation_prompt } as ChatTemplateOptions;
    assertEquals(template.render(messages, all), text);
  }
}

Deno.test("the byte tokenizer's template equals MiniMind's where there are no tools", () => {
  const plain = readFixture<Golden[]>("chat_template.json").filter(({ messages, options }) =>
    !options.tools && messages.every((message) => !message.tool_calls && message.role !== "tool")
  );
  assertEquals(plain.length, 21);
  checkGolden(ChatTemplate.fromConfig(byteTokenizer().config), plain);
});

for (
  const [folder, fixture] of [
    ["minimind-v", "chat_template.json"],
    ["minimind-3v", "chat_template_3v.json"],
  ] as const
) {
  Deno.test({
    name: `the template of ${folder} equals transformers'`,
    ...needsShared(folder),
    fn: () =>
      checkGolden(ChatTemplate.fromConfig(sharedTokenizer(folder).config), readFixture(fixture)),
  });
}

Deno.test("tojson, strip and trim equal Python's", () => {
  for (const { template, x, text } of readFixture<Record<string, string>[]>("jinja.json")) {
    assertEquals(new ChatTemplate(template!).render([], { x }), text, template);
  }
});

Deno.test("a strip in a loop, a condition, a macro or a set is Python's too", () => {
  const template = new ChatTemplate(
    "{% macro m(a) %}{{ a.strip('-') }}{% endmacro %}" +
      "{% for c in x if c.strip('-') == 'b' %}{{ c.rstrip('-') }}{% endfor %}" +
      "{% set y = {'k': x[0].lstrip('-')} %}{{ y.k }}{{ m(x[1]) }}{{ y|tojson }}",
  );
  assertEquals(template.render([], { x: ["-a-", "-b-"] }), '-ba-b{"k": "a-"}');
});

Deno.test("special tokens are variables of the template", () => {
  const config = {
    chat_template: "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
    bos_token: "<s>",
    eos_token: { content: "</s>" },
    pad_token: null,
  };
  const text = ChatTemplate.fromConfig(config).render([{ role: "user", content: "a" }]);
  assertEquals(text, "<s>a</s>");
});

Deno.test("a template's errors are format errors with its words", () => {
  assertThrows(() => new ChatTemplate("{% if %}"), FormatError, "chat template");
  assertThrows(() => new ChatTemplate("{{ x "), FormatError, "chat template");
  const refusing = new ChatTemplate("{{ raise_exception('roles must alternate') }}");
  assertThrows(() => refusing.render([]), FormatError, "roles must alternate");
  assertThrows(() => new ChatTemplate("{{ a() }}").render([]), FormatError, "chat template");
  assertThrows(() => ChatTemplate.fromConfig({}), FormatError, "chat_template");
  assertThrows(() => ChatTemplate.fromConfig(null), FormatError, "chat_template");
});
