/** `deno task compile`, where Deno's runtime for binaries is at hand: it is fetched by the first `deno task compile`. */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { makeOriginalFolder } from "./support/original_folder.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

async function deno(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT })
    .output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** Whether binaries can be made without the network. */
async function hasRuntime(): Promise<boolean> {
  const { denoDir } = JSON.parse(await deno("info", "--json"));
  const { version: { deno: version }, build: { target } } = Deno;
  const fetched = join(denoDir, "dl/release", `v${version}`, `denort-${target}.zip`);
  return await Deno.stat(Deno.env.get("DENORT_BIN") ?? fetched).then(() => true, () => false);
}

/** What a server prints until it tells of its page, and that page's address. */
async function pageOf(server: Deno.ChildProcess): Promise<string> {
  let printed = "";
  for await (const part of server.stdout.pipeThrough(new TextDecoderStream())) {
    printed += part;
    const url = /^Page (\S+)\/$/m.exec(printed)?.[1];
    if (url) return url;
  }
  throw new Error(`The server ended: ${printed}`);
}

const ready = await hasRuntime();

Deno.test({
  name: `the binary of \`deno task compile\` serves a model${
    ready ? "" : " (left out: no denort here; `deno task compile` fetches it)"
  }`,
  ignore: !ready,
  fn: async () => {
    const dir = await Deno.makeTempDir();
    try {
      const folder = join(dir, "minimind-v"), binary = join(dir, "glimpse-serve");
      await makeOriginalFolder(folder);
      await Deno.copyFile(join(folder, "out/llm_64.pth"), join(folder, "out/sft_vlm_64.pth"));
      const { tasks } = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
      const command: string = tasks.compile.command;
      assert(command.includes("--output glimpse-serve"));
      await deno(
        ...command.split(" ").slice(1).map((word) => word === "glimpse-serve" ? binary : word),
      );
      await using server = new Deno.Command(binary, {
        args: ["--root", folder, "--weight", "sft_vlm", "--hidden_size", "64", "--port", "0"],
        cwd: dir,
        stdout: "piped",
      }).spawn();
      const url = await pageOf(server);
      const answer = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          model: "sft_vlm",
          max_tokens: 4,
          messages: [{ role: "user", content: "Hello" }],
        }),
      });
      const { usage } = await answer.json();
      assertEquals([answer.status, usage?.completion_tokens > 0], [200, true]);
      server.kill("SIGINT");
      assertEquals((await server.status).code, 0);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
