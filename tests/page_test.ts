import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { App } from "../serve/app.ts";
import { Engine } from "../serve/engine.ts";
import { startServer } from "../serve/server.ts";
import { Chromium, chromiumPath, type Page } from "./support/chromium.ts";
import { testGpu } from "./support/gpu.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";
import { PICTURES } from "./support/vlm_data.ts";

const path = chromiumPath();
const count = (selector: string) => `document.querySelectorAll(${JSON.stringify(selector)}).length`;
const click = (selector: string) => `document.querySelector(${JSON.stringify(selector)}).click()`;

/** Visits the page again with stored settings. */
async function revisit(page: Page, settings: Record<string, number | string>): Promise<void> {
  const stored = JSON.stringify(JSON.stringify(settings));
  await page.evaluate(
    `isOld = true; localStorage.setItem("glimpse.settings", ${stored}); location.reload()`,
  );
  await page.until(`!globalThis.isOld && ${count("#model option")} === 2`);
}

const FAILURES = `[...document.querySelectorAll(".turn .failed")].map((e) => e.textContent).join()`;
const IDLE = `!document.getElementById("ask").classList.contains("busy")`;

Deno.test({
  name: "the page shows pictures, asks, streams, stops, answers again, and asks nobody else",
  ignore: path === undefined,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    using model = tinyChatModel(await testGpu());
    await using engine = new Engine(model, { slots: 2, capacity: 4000 });
    const app = new App([{ name: "tiny", engine }, { name: "other", engine }]);
    const server = startServer(app, { hostname: "127.0.0.1", port: 0 });
    {
      await using browser = await Chromium.start(path!, "--disable-gpu");
      const page = await browser.open(server.url, { width: 1000, height: 700 });
      await page.until(`${count("#model option")} === 2`);
      // a model of random weights may write until it is cut off, and then leaves no room for more
      await revisit(page, { max_tokens: 64, seed: "1" });

      // an example: a drawn picture and a question
      await page.evaluate(click(".example"));
      await page.until(`${count(".theirs")} === 1 && ${IDLE}`);
      assertEquals(await page.evaluate(count(".mine img")), 1);
      assert(
        (await page.evaluate<string>(`document.querySelector(".about").textContent`)).includes(
          "tokens",
        ),
      );

      // two chosen pictures and text that would be markup
      await page.choose("#files", [join(PICTURES, "square.png"), join(PICTURES, "tiny.png")]);
      await page.until(`${count(".thumb")} === 2`);
      await page.evaluate(`document.getElementById("question").focus()`);
      const text = "<img src=x onerror=alert(1)> <b>bold</b> <|im_end|>";
      await page.type(text);
      await page.press("Enter");
      await page.until(`${count(".theirs")} === 2 && ${IDLE}`);
      assertEquals(
        await page.evaluate(`[...document.querySelectorAll(".mine .text")].at(-1).textContent`),
        text,
      );
      assertEquals(await page.evaluate(count(".text *")), 0);
      assertEquals(await page.evaluate(count(".mine img")), 3);

      // pictures that are pasted and dropped, and taken away again
      const handed = `(() => {
        const bytes = Uint8Array.fromBase64(document.querySelector(".mine img").src.split(",")[1]);
        const items = new DataTransfer();
        items.items.add(new File([bytes], "a.png", { type: "image/png" }));
        return items;
      })()`;
      await page.evaluate(`document.getElementById("question").dispatchEvent(
        new ClipboardEvent("paste", { clipboardData: ${handed}, bubbles: true, cancelable: true }))`);
      await page.until(`${count(".thumb")} === 1`);
      await page.evaluate(`["dragenter", "drop"].forEach((kind) =>
        dispatchEvent(new DragEvent(kind, { dataTransfer: ${handed}, cancelable: true })))`);
      await page.until(`${count(".thumb")} === 2 && document.getElementById("drop").hidden`);
      await page.evaluate(`document.querySelectorAll(".thumb button").forEach(() =>
        document.querySelector(".thumb button").click())`);
      assertEquals(await page.evaluate(count(".thumb")), 0);

      // what is no picture is said where it is seen, and kept out
      await page.choose("#files", [fromFileUrl(import.meta.url)]);
      await page.until(`!document.getElementById("notice").hidden`);
      assertEquals(await page.evaluate(count(".thumb")), 0);

      // answering again replaces the last answer
      await page.evaluate(`[...document.querySelectorAll(".again")].at(-1).click()`);
      await page.until(`${count(".theirs")} === 2 && ${IDLE}`);
      assertEquals(await page.evaluate(count(".mine")), 2);

      // a long answer is stopped
      assertEquals(await page.evaluate(FAILURES), "");
      await revisit(page, { max_tokens: 900, temperature: 1.5, top_p: 1, top_k: 0, seed: "1" });
      assertEquals(await page.evaluate(count(".turn")), 0);
      const drawn = engine.drawnTokens;
      await page.evaluate(`document.getElementById("question").focus()`);
      await page.type("Go on.");
      await page.press("Enter");
      await page.until(`!!document.querySelector(".theirs .text")?.textContent`);
      await page.press("Escape");
      await page.until(IDLE);
      await engine.drain();
      assert(engine.drawnTokens - drawn < 900, "it went on");
      assertEquals(await page.evaluate(FAILURES), "");
      await page.evaluate(click("#fresh"));
      assertEquals(await page.evaluate(count(".turn")), 0);

      // Chinese, dark, and a phone's width
      await page.evaluate(click("#language"));
      assertEquals(await page.evaluate("document.documentElement.lang"), "zh-CN");
      assertEquals(
        await page.evaluate(`document.querySelector("#welcome h2").textContent`),
        "给我看一张图片。",
      );
      const paper = () =>
        page.evaluate<string>("getComputedStyle(document.documentElement).backgroundColor");
      const light = await paper();
      await page.show({ width: 360, height: 740, dark: true, mobile: true });
      assert(await paper() !== light);
      await page.evaluate(click("#theme"));
      assertEquals(await paper(), light);
      assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 360);
      await page.evaluate(click("#adjust"));
      await page.until(`${count(".control")} === 9`);

      const foreign = page.requests.filter((url) =>
        !url.startsWith(server.url) && !/^(data|blob):/.test(url)
      );
      assertEquals(foreign, []);
      assertEquals(page.complaints, []);
    }
    await server.stop();
  },
});
