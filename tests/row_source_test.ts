import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { VlmDataset } from "../data/dataset.ts";
import { openRows } from "../data/open_rows.ts";
import type { RowSource } from "../data/row_source.ts";
import { DataError } from "../kernels/runtime/errors.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { row, temporaryDataset } from "./support/vlm_data.ts";

function withRows<T>(name: string, text: string, action: (rows: RowSource) => T): T {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(join(folder, name), text);
    using rows = openRows(join(folder, name));
    return action(rows);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const all = (rows: RowSource) => Array.from({ length: rows.length }, (_, i) => rows.row(i));

/** The error without the folder's name. */
function refusal(name: string, text: string, row?: number): string {
  const error = assertThrows(
    () => withRows(name, text, (rows) => row === undefined || rows.row(row)),
    DataError,
  );
  return (error as Error).message.replaceAll(/\S*[\\/](?=x\.)/g, "");
}

Deno.test("a JSON array gives the rows that JSON.parse gives, by line", () => {
  const values = [{ a: 'x]"}\\', "[": [1, { b: [] }] }, "te,xt", 3, null, [], {}, "\\", 'q"'];
  for (const indent of [0, 2]) {
    for (const before of ["", "\uFEFF", "\n \n"]) {
      const text = before + JSON.stringify(values, null, indent) + "\n";
      withRows("x.json", text, (rows) => assertEquals(all(rows), values));
    }
  }
  withRows("x.json", '[\n {"a":\n1}\n,\n\n{"b": 2} ]', (rows) => {
    assertEquals([rows.place(0), rows.place(1)].map((place) => place.split(":").at(-1)), [
      "2",
      "6",
    ]);
    assertEquals([rows.bytes(0), rows.bytes(1)], [8, 8]);
    using again = openRows(rows.path, rows.index);
    assertEquals(all(again), [{ a: 1 }, { b: 2 }]);
  });
  withRows("x.json", " [ ] ", (rows) => assertEquals(rows.length, 0));
});

Deno.test("a JSON array that is not whole is refused, a bad row only when it is read", () => {
  const truncated =
    "x.json ends before its array does within the row that begins at line 2; it is truncated.";
  assertEquals(refusal("x.json", '[\n{"a": 1'), truncated);
  assertEquals(refusal("x.json", '[\n"a'), truncated);
  assertEquals(refusal("x.json", "[1] 2"), "x.json:1: something stands behind the array.");
  assertEquals(refusal("x.json", "[1,\n,2]"), "x.json:2: there is no row beside the comma.");
  assertEquals(refusal("x.json", "[1,]"), "x.json:1: there is no row beside the comma.");
  assert(refusal("x.json", "[1,\n{a},3]", 1).startsWith("x.json:2: the line is not valid JSON"));
  assert(refusal("x.json", '[{"a":1} {"b":2}]', 0).includes("not valid JSON"));
  assert(refusal("x.json", "[[1}]", 0).includes("not valid JSON"));
  assertEquals(refusal("x.json", "[1]", 1), "x.json has 1 rows, and row 1 was asked for.");
});

Deno.test("JSON Lines under the name of JSON are read as such", () => {
  withRows(
    "x.json",
    '{"a": 1}\n{"a": 2}\n',
    (rows) => assertEquals(all(rows), [{ a: 1 }, { a: 2 }]),
  );
});

Deno.test("a long array is cut right wherever a chunk ends", () => {
  const values = Array.from(
    { length: 30_000 },
    (_, i) => ({ i, text: 'é\\"}{][,'.repeat(i % 17) }),
  );
  withRows("x.json", JSON.stringify(values), (rows) => {
    assertEquals(rows.length, values.length);
    for (let i = 0; i < values.length; i += 101) assertEquals(rows.row(i), values[i]);
  });
});

Deno.test("a table of pictures and captions", () => {
  const turns = (question: string, answer: string) => [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ];
  const csv =
    '\uFEFFid,"Picture",caption\r\n1,a.jpg,"A ""red""\r\nball, lit"\r\n\r\n2,"b.jpg",Two\r\n3,,Words';
  withRows("x.csv", csv, (rows) => {
    assertEquals(all(rows), [
      {
        image: "a.jpg",
        conversations: turns("<image>\nDescribe this picture.", 'A "red"\r\nball, lit'),
      },
      { image: "b.jpg", conversations: turns("<image>\nDescribe this picture.", "Two") },
      { image: "", conversations: turns("Describe this picture.", "Words") },
    ]);
    assertEquals([0, 1, 2].map((i) => rows.place(i).split(":").at(-1)), ["2", "5", "6"]);
    using again = openRows(rows.path, rows.index);
    assertEquals(all(again), all(rows));
  });
  withRows(
    "x.tsv",
    "question\tanswer\tfile\nWhat, then?\tThis.\tc.png\nHere <image>?\tYes\td.png",
    (rows) =>
      assertEquals(all(rows), [
        { image: "c.png", conversations: turns("<image>\nWhat, then?", "This.") },
        { image: "d.png", conversations: turns("Here <image>?", "Yes") },
      ]),
  );
});

Deno.test("a table that cannot be used is refused with its line", () => {
  assertEquals(
    refusal("x.csv", "name,caption\na,b"),
    "x.csv:1: there is no column image or picture or filename or file_name or file or image_path " +
      "or path; the first line names name, caption.",
  );
  assert(refusal("x.csv", "image;caption\na;b").includes("no column image"));
  assertEquals(refusal("x.csv", "\n\n"), "The data file x.csv is empty.");
  assertEquals(
    refusal("x.csv", 'image,text\na,"b\nc,d\n'),
    "x.csv:2: a quoted field of the row that begins here does not end.",
  );
  assertEquals(
    refusal("x.csv", "image,text\n\na,b,c", 0),
    "x.csv:3: the row has 3 fields, and the first line 2.",
  );
  assertEquals(
    refusal("x.csv", 'image,text\n"a"b,"c"', 0),
    "x.csv:2: field 1 has text behind its quotes.",
  );
  assert(refusal("x.csv", "image,text\na,b", 1).includes("has 1 rows"));
});

Deno.test("LLaVA's rows and a table make the samples that JSON Lines make", async () => {
  const rows = [row("Yes.", "square.png"), row("No.", "tiny.png")];
  await using source = await temporaryDataset(rows);
  const turn = (from: string, value: string) => ({ from, value });
  const llava = ["Yes.", "No."].map((answer, i) => ({
    id: `${i}`,
    image: rows[i]!.image,
    conversations: [turn("human", "<image>\nWhat?"), turn("gpt", answer)],
  }));
  const json = join(source.imagesPath, "llava.json"), csv = join(source.imagesPath, "table.csv");
  await Deno.writeTextFile(json, JSON.stringify(llava, null, 1));
  await Deno.writeTextFile(
    csv,
    "image,question,caption\nsquare.png,What?,Yes.\ntiny.png,What?,No.\n",
  );
  using expected = VlmDataset.open(source);
  for (const dataPath of [json, csv]) {
    using dataset = VlmDataset.open({ ...source, dataPath });
    for (const i of [0, 1]) assertEquals(await dataset.sample(i), await expected.sample(i));
  }
  const { tokenizer, config } = source.tokenizer;
  assert(new Tokenizer(tokenizer, config).decode((await expected.sample(0)).ids).includes("Yes."));
});
