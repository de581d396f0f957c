import { assert, assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { run } from "../cli/serve.ts";
import config from "../deno.json" with { type: "json" };
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { STOP_SIGNALS } from "../cli/signals.ts";
import { folderTest } from "./support/original_folder.ts";

const TASK = /--allow-net=([^ ']+)/.exec(config.tasks.serve.command)![1]!.split(",");

Deno.test({
  name: "the task serves at every name of this machine, and says what to type for other addresses",
  permissions: { net: TASK, read: true, env: true, ffi: true },
  fn: async () => {
    for (const host of ["127.0.0.1", "localhost", "::1"]) {
      await assertRejects(
        () => run(["--host", host, "--root", "nowhere"]),
        GlimpseError,
        "no folder",
      );
    }
    for (const host of ["0.0.0.0", "::", "10.1.2.3", "example.com"]) {
      const error = await assertRejects(() => run(["--host", host]), UsageError);
      assert(error.message.includes(`deno task serve:net --host ${host} …`), error.message);
    }
    const hosts = ["--image_hosts", "*.example.com,a.example"];
    const error = await assertRejects(() => run(hosts), UsageError);
    assert(error.message.includes(`deno task serve:net ${hosts.join(" ")} …`), error.message);
  },
});

/** Changes a JSON file. */
async function edit(path: string, change: (json: Record<string, unknown>) => void): Promise<void> {
  const json = JSON.parse(await Deno.readTextFile(path));
  change(json);
  await Deno.writeTextFile(path, JSON.stringify(json));
}

/** Lets a folder's model answer without an end, which random weights come to by chance. */
async function answerForEver(dir: string): Promise<void> {
  const end = { id: 6399, content: "<never said>", special: true };
  await edit(
    join(dir, "model/tokenizer.json"),
    ({ added_tokens }) => (added_tokens as unknown[]).push(end),
  );
  await edit(join(dir, "model/tokenizer_config.json"), (json) => json.eos_token = end.content);
}

folderTest("one signal lets answers end, a second one stops at once", async (dir) => {
  await Deno.copyFile(join(dir, "out/llm_64.pth"), join(dir, "out/sft_vlm_64.pth"));
  await answerForEver(dir);
  for (const signal of STOP_SIGNALS) {
    for (const times of [1, 2]) {
      const args = ["--root", dir, "--hidden_size", "64", "--port", "0", "--context", "8192"];
      await using server = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "cli.ts", "serve", ...args],
        cwd: fromFileUrl(new URL("..", import.meta.url)),
        stdout: "piped",
      }).spawn();
      const output = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      const printed = async (words: string) => {
        while (!text.includes(words)) {
          const { value, done } = await output.read();
          assert(!done, `${words} is not printed: ${text}`);
          text += value;
        }
      };
      await printed("\nAPI ");
      const url = /^Page (.*)\/$/m.exec(text)![1]!;
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          model: "sft_vlm",
          stream: true,
          temperature: 0,
          max_tokens: times === 1 ? 100 : 8000,
          messages: [{ role: "user", content: "Hello" }],
        }),
      });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let answer = (await reader.read()).value!;
      for (let i = 0; i < times; i++) {
        server.kill(signal);
        await printed("once more");
      }
      if (times === 2) {
        await assertRejects(async () => {
          while (!(await reader.read()).done);
        });
      } else {
        for (let next; !(next = await reader.read()).done;) answer += next.value;
        assert(answer.includes("[DONE]"), answer);
      }
      assertEquals((await server.status).code, 0);
    }
  }
});
