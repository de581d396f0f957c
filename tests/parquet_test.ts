import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { run } from "../cli/convert.ts";
import { convertData } from "../data/convert_data.ts";
import { VlmDataset } from "../data/dataset.ts";
import { inspectData } from "../data/inspect.ts";
import { Loader } from "../data/loader.ts";
import { SampleOrder } from "../data/order.ts";
import { ParquetFile } from "../data/parquet.ts";
import { DataError, UsageError } from "../kernels/runtime/errors.ts";
import { PICTURES, plain, row, temporaryDataset } from "./support/vlm_data.ts";

const picture = (name: string) => Deno.readFileSync(join(PICTURES, name));
const turns = (question: string, answer: string) => [
  { role: "user", content: question },
  { role: "assistant", content: answer },
];

/** Writes rows in row groups of two. */
function write(path: string, conversations: unknown[], columns: Record<string, unknown[]>): void {
  const columnData = [
    { name: "conversations", data: conversations, type: "STRING" as const },
    ...Object.entries(columns).map(([name, data]) => ({ name, data, type: "BYTE_ARRAY" as const })),
  ];
  Deno.writeFileSync(path, new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 2 })));
}

Deno.test("MiniMind-V's Parquet files make the samples of JSON Lines", async () => {
  const rows = [row("Yes.", "square.png"), row("No.", "tiny.png"), row("Nothing.")];
  await using source = await temporaryDataset(rows);
  const dataPath = join(source.imagesPath, "a.parquet");
  const texts = [
    turns("<image>\nWhat?", "Yes."),
    turns("<image>\nWhat?", "No."),
    turns("What?", "Nothing."), // with a black picture that the text has no place for
  ].map((value) => JSON.stringify(value));
  const files = [picture("square.png"), picture("tiny.png"), picture("tiny.png")];
  write(dataPath, texts, { image_bytes: files });
  using expected = VlmDataset.open(source);
  using dataset = VlmDataset.open({ ...source, dataPath });
  assertEquals(dataset.length, 3);
  for (const i of [2, 0, 1]) assertEquals(await dataset.sample(i), await expected.sample(i));
  const report = await inspectData({ ...source, dataPath }, { pictures: "decode" });
  assertEquals([report.rows, report.bad, report.pictures, report.duplicates], [3, 0, 2, 0]);
});

Deno.test("rows that cannot be used, and files that are none, are named", async () => {
  await using source = await temporaryDataset([row("Yes.")]);
  const dataPath = join(source.imagesPath, "a.parquet");
  const good = JSON.stringify(turns("<image>", "Yes."));
  const files = [picture("tiny.png"), new Uint8Array(5), picture("tiny.png")];
  write(dataPath, ["{", good, JSON.stringify(turns("<image><image>", "Two."))], {
    image_bytes: files,
  });
  using dataset = VlmDataset.open({ ...source, dataPath });
  const why = [
    "row 1: conversations is not valid JSON",
    "row 2: the picture",
    "row 3: the text has",
  ];
  for (const [i, part] of why.entries()) {
    const error = await assertRejects(() => dataset.sample(i), DataError);
    assert(String(error).includes(`a.parquet, ${part}`), String(error));
  }
  await assertRejects(() => dataset.sample(3), DataError, "has 3 rows");
  const bytes = await Deno.readFile(dataPath);
  const open = (content: Uint8Array) => () => {
    Deno.writeFileSync(dataPath, content);
    ParquetFile.open(dataPath)[Symbol.dispose]();
  };
  assertThrows(open(bytes.slice(0, 100)), DataError, "its end is missing");
  assertThrows(open(new Uint8Array(3)), DataError, "it is too short");
  const cut = new Uint8Array([...bytes.slice(0, 8), ...bytes.slice(bytes.length - 400)]);
  assertThrows(open(cut), DataError, "is not a whole Parquet file");
  const spoilt = bytes.slice().fill(0xff, 4, 60);
  open(spoilt)();
  using broken = ParquetFile.open(dataPath);
  await assertRejects(
    () => Promise.resolve(broken.row(0)),
    DataError,
    "its row group cannot be read",
  );
  const other = new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "x", data: [1, 2] }] }));
  assertThrows(open(other), DataError, "has no column conversations; it has x");
});

Deno.test("an order goes through sections one after the other, all rows once", () => {
  const sections = [100, 250, 300, 1000];
  const options = { length: 1000, batchSize: 7, shuffle: true, seed: 5, sections };
  const order = new SampleOrder(options).epoch(0);
  assertEquals([...order].sort((a, b) => a - b), Array.from({ length: 1000 }, (_, i) => i));
  const visited = [...order].map((i) => sections.findIndex((end) => i < end));
  assertEquals(visited.filter((section, i) => section !== visited[i - 1]).length, 4);
  assert(order.some((i, at) => at > 0 && Math.abs(i - order[at - 1]!) > 1));
  const firsts = Array.from({ length: 12 }, (_, epoch) => {
    const [first] = new SampleOrder(options).epoch(epoch);
    return sections.findIndex((end) => first! < end);
  });
  assert(new Set(firsts).size > 1, String(firsts));
  const rows = Uint32Array.from({ length: 300 }, (_, i) => 3 * i);
  const some = new SampleOrder({ ...options, length: 300, rows }).epoch(1);
  assertEquals([...some].sort((a, b) => a - b), [...rows]);
  const plain = new SampleOrder({ ...options, sections: undefined }).epoch(0);
  assertEquals(new SampleOrder({ ...options, sections: [1000] }).epoch(0), plain);
});

Deno.test("there and back: JSON Lines, Parquet and JSON Lines again are one data set", async () => {
  const names = ["square.png", "tiny.png", undefined];
  const rows = Array.from({ length: 9 }, (_, i) => row(`Answer ${i}, größer.`, names[i % 3]));
  await using source = await temporaryDataset(rows);
  const folder = source.imagesPath, dataPath = join(folder, "new_data.parquet");
  const { log } = console;
  console.log = () => {};
  try {
    assertEquals(await run(["data", source.dataPath, dataPath]), 0);
    assertEquals(await run(["data", dataPath, join(folder, "back_data.jsonl")]), 0);
    await assertRejects(() => run(["data", dataPath, "x.csv"]), UsageError, "x.csv");
  } finally {
    console.log = log;
  }
  const back = join(folder, "back_images");
  assertEquals([...Deno.readDirSync(back)].map(({ name }) => name).sort(), [
    "square.png",
    "tiny.png",
  ]);
  using expected = VlmDataset.open(source);
  using parquet = VlmDataset.open({ ...source, dataPath });
  using again = VlmDataset.open({
    ...source,
    dataPath: join(folder, "back_data.jsonl"),
    imagesPath: back,
  });
  for (let i = 0; i < rows.length; i++) {
    const sample = await expected.sample(i);
    assertEquals(await parquet.sample(i), sample);
    assertEquals(await again.sample(i), sample);
  }
  const loaderOptions = {
    source: { ...plain(source), dataPath },
    batchSize: 2,
    shuffle: true,
    seed: 3,
  };
  await using one = new Loader(loaderOptions);
  await using two = new Loader({ ...loaderOptions, workers: 2 });
  const whole = await Array.fromAsync(one.batches({ epochs: 2 }));
  assertEquals(
    await Array.fromAsync(two.batches({ epoch: 1, step: 2, epochs: 2 })),
    whole.slice(7),
  );
});

Deno.test("pictures without names get those of their contents; several in a row are refused", async () => {
  await using source = await temporaryDataset([
    { image: "tiny.png, square.png", conversations: turns("<image><image>", "Two.") },
  ]);
  const folder = source.imagesPath,
    from = join(folder, "a.parquet"),
    toImages = join(folder, "out");
  const text = JSON.stringify(turns("<image>", "Yes."));
  write(from, [text, text], { image_bytes: [picture("tiny.png"), picture("tiny.png")] });
  const to = join(folder, "b.jsonl");
  assertEquals(await convertData({ from, images: folder, to, toImages }), 2);
  const names = [...Deno.readDirSync(toImages)].map(({ name }) => name);
  assert(names.length === 1 && /^[0-9a-f]{40}\.png$/.test(names[0]!), String(names));
  const several = {
    from: source.dataPath,
    images: folder,
    to: join(folder, "c.parquet"),
    toImages,
  };
  await assertRejects(() => convertData(several), DataError, "a row with 2 pictures");
  const none = { ...several, from: join(folder, "none.jsonl") };
  await Deno.writeTextFile(none.from, "\n");
  await assertRejects(() => convertData(none), DataError, "none.jsonl has no rows.");
  assert(![...Deno.readDirSync(folder)].some(({ name }) => name.includes("c.parquet")));
});
