import { assertEquals, assertThrows } from "@std/assert";
import { JsonlFile } from "../data/jsonl.ts";
import { DataError } from "../kernels/runtime/errors.ts";

function withFile(content: string | Uint8Array, action: (path: string) => void): void {
  const path = Deno.makeTempFileSync({ suffix: ".jsonl" });
  try {
    if (typeof content === "string") Deno.writeTextFileSync(path, content);
    else Deno.writeFileSync(path, content);
    action(path);
  } finally {
    Deno.removeSync(path);
  }
}

function rows(content: string): unknown[] {
  let all: unknown[] = [];
  withFile(content, (path) => {
    using file = JsonlFile.open(path);
    all = Array.from({ length: file.length }, (_, i) => file.row(i));
  });
  return all;
}

Deno.test("rows are found whatever ends the lines and the file", () => {
  assertEquals(rows('{"a":1}\n[2]\n"三"\n'), [{ a: 1 }, [2], "三"]);
  assertEquals(rows("1\r\n2\r\n3"), [1, 2, 3]);
  assertEquals(rows("1\n\n \r\n\n"), [1]);
  assertEquals(rows("\uFEFF1\n2\n"), [1, 2]);
  assertEquals(rows(""), []);
  assertEquals(rows("\n\n"), []);
});

Deno.test("lines are found across the edges of what is read at once", () => {
  const long = "x".repeat(700_000);
  const content = [long, 1, "", long, long, 2].map((x) => JSON.stringify(x)).join("\n");
  assertEquals(rows(content), [long, 1, "", long, long, 2]);
  const many = Array.from({ length: 5000 }, (_, i) => i);
  assertEquals(rows(many.join("\n") + "\n"), many);
});

Deno.test("a second reader takes over the offsets", () =>
  withFile("1\n22\n333", (path) => {
    using first = JsonlFile.open(path);
    using second = JsonlFile.open(path, first.index);
    assertEquals([second.length, second.row(1), second.bytes(1)], [3, 22, 3]);
  }));

Deno.test("a line that is no row is named by file and line", () => {
  const bad = new Uint8Array([0x31, 10, 0x22, 0xff, 0x22, 10, 10, 0x7b, 10, 0x32]);
  withFile(bad, (path) => {
    using file = JsonlFile.open(path);
    const refused = (index: number, part: string) =>
      assertThrows(() => file.row(index), DataError, part);
    refused(1, `${path}:2: the line is not UTF-8`);
    refused(2, `${path}:3: the line is empty`);
    refused(3, `${path}:4: the line is not valid JSON`);
    refused(5, "5 rows");
    assertEquals([file.row(0), file.row(4)], [1, 2], "other rows stay readable");
    Deno.truncateSync(path, 5);
    refused(4, `${path}:5: the file has become shorter`);
  });
});

Deno.test("a file that is not there is named", () => {
  assertThrows(
    () => JsonlFile.open("/nowhere/x.jsonl"),
    DataError,
    "/nowhere/x.jsonl does not exist",
  );
});
