/**
 * The core in a real browser: the tests of kernels and models in a page, and the page of `docs/browser.md` itself.
 * Skipped where there is no Chromium.
 */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { decodePicture } from "../data/picture.ts";
import { chatSource, loadChatModel } from "../data/vlm_folder.ts";
import { describe } from "../model/describe.ts";
import { Chromium, chromiumPath, type Page } from "./support/chromium.ts";
import { testGpu } from "./support/gpu.ts";
import { makeOriginalFolder } from "./support/original_folder.ts";

const TESTS = fromFileUrl(new URL(".", import.meta.url));
const VIEW = { width: 600, height: 400 };
const KINDS: Readonly<Record<string, string>> = { html: "text/html", js: "text/javascript" };

/** Bundles a module for browsers. */
async function bundle(module: string, out: string, ...flags: string[]): Promise<void> {
  const args = ["bundle", "--quiet", "--platform", "browser", ...flags, "--output", out, module];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

/** Serves files of folders, the first that has one, to a browser, and opens a page. */
async function inBrowser(
  folders: readonly string[],
  page: string,
  body: (page: Page) => Promise<void>,
): Promise<void> {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const type = KINDS[pathname.split(".").at(-1)!] ?? "application/octet-stream";
    for (const folder of folders) {
      const bytes = await Deno.readFile(join(folder, pathname)).catch(() => undefined);
      if (bytes) return new Response(bytes, { headers: { "content-type": type } });
    }
    return new Response("There is nothing here.", { status: 404 });
  });
  {
    await using browser = await Chromium.start(chromiumPath()!, "--enable-unsafe-webgpu");
    await body(await browser.open(`http://localhost:${server.addr.port}/${page}`, VIEW));
  }
  await server.shutdown();
}

/** Registers a test that has a folder of its own, where there is a browser. */
function browserTest(
  name: string,
  fn: (dir: string, t: Deno.TestContext) => Promise<void>,
): void {
  Deno.test({
    name,
    ignore: chromiumPath() === undefined,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn(t) {
      const dir = await Deno.makeTempDir();
      try {
        await fn(dir, t);
      } finally {
        await Deno.remove(dir, { recursive: true });
      }
    },
  });
}

browserTest("the page of docs/browser.md says what Deno says", async (dir) => {
  const markdown = await Deno.readTextFile(join(TESTS, "../docs/browser.md"));
  const html = /^```html\n([^]*?)^```/m.exec(markdown)![1]!
    .replace("https://esm.sh/jsr/@glimpse/vlm/core", "./glimpse.js");
  await makeOriginalFolder(dir);
  await Deno.rename(join(dir, "out/llm_64.pth"), join(dir, "out/sft_vlm_512.pth"));
  await Deno.writeTextFile(join(dir, "describe.html"), html);
  await bundle(join(TESTS, "../core.ts"), join(dir, "glimpse.js"), "--minify");

  const path = join(dir, "dataset/eval_images/circle.png");
  using model = await loadChatModel(await testGpu(), chatSource(dir, "sft_vlm_512"));
  const pieces = await Array.fromAsync(
    describe(model, await decodePicture(path), "Describe the picture.", { maxNewTokens: 64 }),
  );
  const expected = pieces.join("");
  assert(expected.length > 20);

  await inBrowser([dir], "describe.html", async (page) => {
    await page.until(`!document.querySelector("input").disabled`);
    await page.choose("input", [path]);
    const text = `document.querySelector("p").textContent`;
    await page.until(`${text} === ${JSON.stringify(expected)}`).catch(() => {});
    assertEquals(await page.evaluate(text), expected);
    const missing = /status of 404.*(favicon\.ico|chat_template\.jinja)/;
    assertEquals(page.complaints.filter((text) => !missing.test(text)), []);
  });
});

browserTest("kernels and models pass their own tests in a page", async (dir, t) => {
  const config = join(TESTS, "browser/deno.json");
  await bundle(join(TESTS, "browser/core_tests.ts"), join(dir, "tests.js"), "--config", config);
  await Deno.writeTextFile(
    join(dir, "tests.html"),
    `<!doctype html><meta charset="utf-8"><script type="module" src="tests.js"></script>`,
  );
  await inBrowser([dir, TESTS], "tests.html", async (page) => {
    await page.until("globalThis.tests !== undefined");
    const names = await page.evaluate<string[]>("tests.map(({ name }) => name)");
    assert(names.length > 400);
    for (const [i, name] of names.entries()) {
      await t.step({
        name,
        sanitizeOps: false,
        sanitizeResources: false,
        fn: () => page.evaluate(`Promise.try(tests[${i}].fn)`),
      });
    }
  });
});
