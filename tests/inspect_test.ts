import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { escapeHtml, inspectPage } from "../cli/inspect_page.ts";
import { reportText, sampleText } from "../cli/inspect_text.ts";
import { run } from "../cli/inspect.ts";
import { VlmDataset } from "../data/dataset.ts";
import { distribution, inspectData } from "../data/inspect.ts";
import { inspectSample, shortened } from "../data/inspect_sample.ts";
import { DataError } from "../kernels/runtime/errors.ts";
import { row, temporaryDataset } from "./support/vlm_data.ts";

Deno.test("numbers in order", () => {
  const values = Array.from({ length: 200 }, (_, i) => 199 - i);
  const { count, least, median, p90, p99, greatest, mean, parts, width } = distribution(values);
  assertEquals([count, least, median, p90, p99, greatest], [200, 0, 99, 179, 197, 199]);
  assertEquals([mean, width, parts.length], [99.5, 10, 20]);
  assertEquals(parts, Array(20).fill(10));
  const none = distribution([]);
  assertEquals([none.count, none.mean, none.greatest, none.parts.length], [0, 0, 0, 0]);
  assertEquals(distribution([5]).parts, [0, 0, 0, 0, 0, 1]);
});

Deno.test("a report counts rows, tokens, answers, pictures, repetitions and what is wrong", async () => {
  const rows = [
    row("Yes.", "square.png"),
    row("No.", "tiny.png"),
    row("Yes.", "square.png"),
    row("A long answer. ".repeat(30)),
    row("Gone.", "gone.png"),
    "{",
    { conversations: [{ content: "x".repeat(300) }, { content: "never seen" }] },
    {
      image: "tiny.png",
      conversations: [{ content: "y".repeat(180) + "<image>" }, { content: "z" }],
    },
  ];
  await using source = await temporaryDataset(rows);
  const report = await inspectData(source, { pictures: "size" });
  assertEquals([report.rows, report.seen, report.bad], [8, 8, 3]);
  const places = report.problems.map((text) => /rows\.jsonl:(\d+): (.{7})/.exec(text)!.slice(1));
  assertEquals(places, [["5", "picture"], ["6", "the lin"], ["8", "picture"]]);
  using dataset = VlmDataset.open({ ...source, maxLength: 2000 });
  const whole = await Promise.all([0, 1, 2, 3, 6].map((i) => dataset.encode(i)));
  assertEquals(report.tokens.count, 5);
  assertEquals(report.tokens.greatest, Math.max(...whole.map(({ ids }) => ids.length)));
  const sum = (list: readonly Uint8Array[]) =>
    list.flatMap((m) => [...m]).reduce((a, b) => a + b, 0);
  const masks = whole.map(({ mask }) => mask);
  const all = whole.reduce((total, { ids }) => total + ids.length, 0);
  assertEquals(report.answerShare, sum(masks) / all);
  assertEquals(report.lostShare, 1 - sum(masks.map((m) => m.subarray(0, 200))) / sum(masks));
  assertEquals([report.truncated, report.withoutAnswer], [2, 1]);
  assertEquals([...report.picturesPerRow], [[0, 2], [1, 3]]);
  assertEquals([report.pictures, report.sharedPictures, report.duplicates], [2, 1, 1]);
  assert(/rows\.jsonl:3 repeats .*rows\.jsonl:1$/.test(report.duplicateExamples[0]!));
  const text = reportText("data", report, 200);
  assert(text.includes("cannot be used      3 (37.5%)"), text);
  const few = await inspectData(source, { pictures: "none", rows: 2 });
  assertEquals([few.seen, few.pictures, few.bad], [2, 0, 0]);
});

Deno.test("data without a row are refused, and a folder in their place", async () => {
  for (const lines of [[], ["", "\ufeff", ""]]) {
    await using source = await temporaryDataset(lines);
    await assertRejects(
      () => inspectData(source, { pictures: "none" }),
      DataError,
      `The data file ${source.dataPath} has no rows.`,
    );
    assertThrows(
      () => VlmDataset.open({ ...source, dataPath: source.imagesPath }),
      DataError,
      "cannot be read: it is a folder.",
    );
  }
});

Deno.test("a sample is shown as training sees it: X, the Y after it, and whether that counts", async () => {
  await using source = await temporaryDataset([row("Né\u0007.", "square.png")]);
  using dataset = VlmDataset.open(source);
  const sample = await inspectSample(dataset, 0);
  const { ids, mask } = await dataset.sample(0);
  assertEquals(sample.tokens.map(({ x }) => x), [...ids.slice(0, -1)]);
  assertEquals(sample.tokens.map(({ y }) => y), [...ids.slice(1)]);
  assertEquals(sample.tokens.map(({ mask }) => mask), [...mask.slice(1)]);
  const learnt = sample.tokens.filter(({ mask }) => mask).map(({ yText }) => yText).join("");
  assert(learnt.includes("N\\xc3\\xa9\\u{7}."), learnt);
  assertEquals([sample.pictures[0]!.name, sample.pictures[0]!.pixels.length], ["square.png", 768]);
  const run = { at: 0, x: 1, xText: "@", y: 1, yText: "@", mask: 0 };
  const short = shortened([...Array(9).fill(run), { ...run, y: 2 }]);
  assertEquals(short, [run, { skipped: 7 }, run, { ...run, y: 2 }]);
  const text = sampleText(sample, true);
  assert(text.includes("▀") && text.includes("square.png"), text);
  assert(!sampleText(sample, false).includes("\x1b"));
});

Deno.test("the page holds no text of the data as HTML, and loads nothing", async () => {
  assertEquals(escapeHtml(`<a href="x">'&`), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  const evil = "<script>alert(1)</script><img src=x onerror=y>";
  await using source = await temporaryDataset([row(evil, "square.png"), row(evil, `${evil}.png`)]);
  using dataset = VlmDataset.open(source);
  const sample = await inspectSample(dataset, 0);
  const report = await inspectData(source, { pictures: "decode" });
  const page = inspectPage(`"${evil}`, report, 200, [{ sample, pictures: [new Uint8Array(4)] }]);
  assert(!/<script|onerror=y>/.test(page), page);
  assert(!/(src|href)="?(http|\/)/.test(page));
  assert(page.includes("default-src 'none'"));
});

Deno.test("the command prints, writes the page, and ends with 1 where rows are bad", async () => {
  const { makeSampleFolder } = await import("../data/sample_folder.ts");
  const root = await Deno.makeTempDir();
  const said: string[] = [];
  const { log } = console;
  console.log = (text: string) => void said.push(text);
  try {
    await makeSampleFolder(root, {
      seed: 1,
      rows: 6,
      evalPictures: 0,
      hiddenSize: 64,
      layers: 1,
      visionHiddenSize: 64,
      visionLayers: 1,
    });
    const data = join(root, "dataset", "pretrain_data.jsonl"), page = join(root, "page.html");
    assertEquals(await run([data, "--root", root, "--html", page]), 0);
    const html = await Deno.readTextFile(page);
    assertEquals(html.match(/data:image\/png;base64,iVBOR/g)?.length, 6);
    assertEquals(await run([data, "--root", root, "--row", "2"]), 0);
    assert(said.at(-1)!.startsWith(`${data}:2\n`), said.at(-1));
    await Deno.writeTextFile(data, "{}\n", { append: true });
    assertEquals(await run([data, "--root", root]), 1);
    assert(said.at(-1)!.includes(`${data}:7: `), said.at(-1));
  } finally {
    console.log = log;
    await Deno.remove(root, { recursive: true });
  }
});
