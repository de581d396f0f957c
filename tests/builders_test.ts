/** The examples of the builders' page are whole programs that run. */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join, toFileUrl } from "@std/path";
import { makeOriginalFolder } from "./support/original_folder.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/** The programs of a page of Markdown, by the heading that each stands under. */
function programs(page: string): Map<string, string> {
  const parts = page.split(/^## /m).slice(1).map((part): [string, string] => {
    const blocks = [...part.matchAll(/^```ts\n([\s\S]*?)^```/gm)];
    assertEquals(blocks.length, 1, part);
    return [part.slice(0, part.indexOf("\n")), blocks[0]![1]!];
  });
  return new Map(parts);
}

/** What each program prints. */
const PRINTS: Readonly<Record<string, RegExp>> = {
  "Describe a picture": /^It says: /,
  "Stream an answer": /That is all\.$/,
  "Embed a picture": /^Alike: -?0\.\d{3} of 768 numbers$/,
  "Train": /step 0 loss \d+\.\d+(\n|$)/,
  "Measure": /Loss of the answers \{\s+value: \d[\s\S]*ROUGE-L[\s\S]*0\.\d+$/,
};

async function deno(cwd: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(code, 0, `${text(stderr)}\n${text(stdout)}`);
  return text(stdout);
}

Deno.test("every example for builders is sound in its types, runs and prints", async () => {
  const found = programs(await Deno.readTextFile(join(ROOT, "docs/builders.md")));
  assertEquals([...found.keys()], Object.keys(PRINTS));
  const dir = await Deno.makeTempDir();
  try {
    const folder = join(dir, "minimind-v");
    await makeOriginalFolder(folder);
    await Deno.rename(join(folder, "out/llm_64.pth"), join(folder, "out/llm_512.pth"));
    await Deno.copyFile(join(folder, "out/llm_512.pth"), join(folder, "out/sft_vlm_512.pth"));
    const module = toFileUrl(join(ROOT, "mod.ts")).href;
    const files = [...found.values()].map((_, i) => join(dir, `example_${i}.ts`));
    for (const [i, code] of [...found.values()].entries()) {
      await Deno.writeTextFile(files[i]!, code.replace('"@glimpse/vlm"', `"${module}"`));
    }
    const main = join(dir, "main.ts");
    const lines = files.map((file) => `await import("${toFileUrl(file)}"); console.log("\\f");`);
    await Deno.writeTextFile(main, lines.join("\n"));
    const config = ["--config", join(ROOT, "deno.json"), "--frozen"];
    await deno(dir, "check", ...config, ...files);
    const printed = (await deno(dir, "run", "-A", ...config, main)).split("\f");
    for (const [i, name] of [...found.keys()].entries()) {
      const text = printed[i]?.trim() ?? "";
      assert(PRINTS[name]!.test(text), `${name} printed: ${text}`);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
