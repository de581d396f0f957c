import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { run } from "../cli/extract.ts";
import { VlmDataset } from "../data/dataset.ts";
import { extractZip } from "../data/extract.ts";
import { Loader } from "../data/loader.ts";
import { openPictures } from "../data/picture_source.ts";
import { ZipArchive } from "../data/zip_archive.ts";
import { DataError, FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import { makeZip, type ZipFile } from "./support/make_zip.ts";
import { PICTURES, plain, row, temporaryDataset } from "./support/vlm_data.ts";

const text = (value: string) => new TextEncoder().encode(value);

async function withZip(
  files: readonly ZipFile[],
  action: (path: string, folder: string) => Promise<void> | void,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "a.zip");
    await Deno.writeFile(path, await makeZip(files));
    await action(path, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const read = async (archive: ZipArchive, name: string) =>
  new TextDecoder().decode(
    await new Blob(await Array.fromAsync(archive.contents(archive.find(name)!))).bytes(),
  );

Deno.test("files are found by name, stored or deflated, with or without zip64", async () => {
  const long = "many words ".repeat(50_000);
  for (const wide of [false, true]) {
    const files = [
      { name: "all/", content: text("") },
      { name: "all/a.txt", content: text("hello") },
      { name: "all/größe/b.txt", content: text(long), deflate: true },
      ...Array.from({ length: 500 }, (_, i) => ({ name: `all/${i}`, content: text(`${i}`) })),
    ];
    await withZip(files.map((file) => ({ ...file, wide })), async (path) => {
      using first = ZipArchive.open(path);
      using archive = ZipArchive.open(path, structuredClone(first.index));
      assertEquals(await read(archive, "all/a.txt"), "hello");
      assertEquals(await read(archive, "/a.txt"), "hello");
      assertEquals(await read(archive, "größe/b.txt"), long);
      for (let i = 0; i < 500; i++) assertEquals(await read(archive, `${i}`), `${i}`);
      assertEquals(archive.find("500"), undefined);
      assertEquals([...archive.records()].length, 503);
    });
  }
});

Deno.test("contents that are not what the list says are refused", () => {
  const content = text("hello ".repeat(1000));
  const files: ZipFile[] = [
    { name: "checksum", content, crc: 7 },
    { name: "short", content, deflate: true, size: 7000 },
    { name: "long", content, deflate: true, size: 50 },
    { name: "garbage", content: text("no deflate at all"), method: 8 },
    { name: "method", content, method: 12 },
    { name: "secret", content, encrypted: true },
  ];
  return withZip(files, async (path) => {
    using archive = ZipArchive.open(path);
    const why = ["length or checksum", "length or checksum", "longer than the 50", "is corrupt"];
    for (const [i, part] of [...why, "method 12", "is encrypted"].entries()) {
      const error = await assertRejects(() => read(archive, files[i]!.name), FormatError);
      assert(String(error).includes(part), String(error));
    }
  });
});

Deno.test("an archive that is cut off or is none is refused", () =>
  withZip([{ name: "a", content: text("x".repeat(200)) }], async (path, folder) => {
    await Deno.truncate(path, 200);
    assertThrows(
      () => ZipArchive.open(path),
      FormatError,
      "is missing, so it is truncated or none",
    );
    await Deno.writeTextFile(path, "");
    assertThrows(() => ZipArchive.open(path), FormatError, "not a whole zip archive");
    assertThrows(() => ZipArchive.open(join(folder, "b.zip")), DataError, "does not exist");
  }));

Deno.test("a data set with its pictures in an archive gives the samples of a folder", async () => {
  const rows = [row("Yes.", "square.png"), row("No.", "tiny.png"), row("Gone.", "gone.png")];
  await using source = await temporaryDataset(rows);
  const files = ["square.png", "tiny.png"].map((name) => ({
    name: `pictures/${name}`,
    content: Deno.readFileSync(join(PICTURES, name)),
    deflate: name === "tiny.png",
  }));
  const imagesPath = join(source.imagesPath, "pictures");
  await Deno.writeFile(`${imagesPath}.zip`, await makeZip(files));
  using expected = VlmDataset.open(source);
  for (const path of [imagesPath, `${imagesPath}.zip`]) {
    using dataset = VlmDataset.open({ ...source, imagesPath: path });
    for (const i of [0, 1]) assertEquals(await dataset.sample(i), await expected.sample(i));
    const error = await assertRejects(() => dataset.sample(2), DataError);
    assert(/rows\.jsonl:3: picture .*pictures\.zip\/gone\.png does not exist\.$/.test(`${error}`));
  }
  const loaderOptions = { batchSize: 1, shuffle: false, seed: 1, onBadSample: "skip" as const };
  for (const workers of [0, 2]) {
    await using loader = new Loader({
      ...loaderOptions,
      source: { ...plain(source), imagesPath },
      workers,
    });
    const batches = await Array.fromAsync(loader.batches());
    assertEquals(batches.map(({ skipped }) => skipped), [0, 0, 1]);
  }
  await Deno.writeTextFile(`${imagesPath}.zip`, "no archive");
  assertThrows(() => openPictures(imagesPath), FormatError, "not a whole zip archive");
});

Deno.test("an archive is unpacked once, by the command too", () =>
  withZip([
    { name: "a/", content: text("") },
    { name: "a/b.txt", content: text("hello ".repeat(100)), deflate: true },
    { name: "c.txt", content: text("c") },
  ], async (path, folder) => {
    const to = join(folder, "out");
    assertEquals(await run([path, to]), 0);
    assertEquals(await Deno.readTextFile(join(to, "a", "b.txt")), "hello ".repeat(100));
    using archive = ZipArchive.open(path);
    assertEquals(await extractZip(archive, to, { force: false }), { written: 0, present: 2 });
    await Deno.writeTextFile(join(to, "c.txt"), "d");
    await assertRejects(
      () => extractZip(archive, to, { force: false }),
      GlimpseError,
      "add --force",
    );
    assertEquals(await extractZip(archive, to, { force: true }), { written: 1, present: 1 });
    assertEquals(await Deno.readTextFile(join(to, "c.txt")), "c");
    assertEquals([...Deno.readDirSync(to)].map(({ name }) => name).sort(), ["a", "c.txt"]);
  }));

Deno.test("nothing is unpacked of an archive with a trap in it", async () => {
  const good = { name: "good.txt", content: text("good") };
  const zeros = new Uint8Array(2_000_000);
  const traps: [ZipFile, string][] = [
    [{ name: "../x", content: text("x") }, "would not stay"],
    [{ name: "/etc/x", content: text("x") }, "would not stay"],
    [{ name: "a/../../x", content: text("x") }, "would not stay"],
    [{ name: "..\\x", content: text("x") }, "would not stay"],
    [{ name: "C:\\x", content: text("x") }, "would not stay"],
    [{ name: "link", content: text("/etc"), mode: 0o120777 }, "is a link or a device"],
    [{ name: "pipe", content: text(""), mode: 0o010644 }, "is a link or a device"],
    [{ name: "GOOD.txt", content: text("x") }, "twice"],
    [{ name: "bomb", content: zeros, deflate: true }, "it is a trap"],
  ];
  for (const [trap, part] of traps) {
    await withZip([good, trap], async (path, folder) => {
      using archive = ZipArchive.open(path);
      const to = join(folder, "out");
      const error = await assertRejects(
        () => extractZip(archive, to, { force: true }),
        FormatError,
      );
      assert(String(error).includes(part), `${trap.name}: ${error}`);
      assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["a.zip"], trap.name);
    });
  }
  const shared = { content: text("y".repeat(1000)), offset: 0, bare: true };
  const overlapping = ["b", "c", "d"].map((name) => ({ name, ...shared }));
  await withZip([{ ...shared, name: "a", bare: false }, ...overlapping], async (path, folder) => {
    using archive = ZipArchive.open(path);
    const action = () => extractZip(archive, join(folder, "out"), { force: true });
    await assertRejects(action, FormatError, "share their bytes");
  });
});
