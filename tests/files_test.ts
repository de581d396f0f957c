import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { openFile, requireWritable, writeFileAtomic } from "../data/files.ts";
import { openWeights } from "../data/open_weights.ts";
import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import { pthChunks } from "../model/pth_writer.ts";
import { safetensorsChunks } from "../model/safetensors.ts";
import { assertTensors, everyKind } from "./support/weight_files.ts";

/** Runs a test in a folder of its own. */
function inFolder(name: string, test: (folder: string) => Promise<void>): void {
  Deno.test(name, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await test(folder);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

const names = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

inFolder("a file is read anywhere, by many at once, and not beyond its end", async (folder) => {
  const path = join(folder, "bytes");
  await Deno.writeFile(path, Uint8Array.from({ length: 1000 }, (_, i) => i % 251));
  await using file = await openFile(path);
  assertEquals([file.name, file.size], [path, 1000]);
  const reads = Array.from({ length: 100 }, (_, i) => file.read(9 * i, 5));
  for (const [i, bytes] of (await Promise.all(reads)).entries()) {
    assertEquals([...bytes], [0, 1, 2, 3, 4].map((k) => (9 * i + k) % 251));
  }
  await assertRejects(() => file.read(996, 5), FormatError, path);
  await assertRejects(() => file.read(-1, 1), FormatError, "-1");
  assertEquals(await file.read(1000, 0), new Uint8Array(0));
  await Deno.truncate(path, 10);
  await assertRejects(() => file.read(5, 10), FormatError, "became shorter");
});

inFolder("what cannot be opened is named", async (folder) => {
  const path = join(folder, "absent.pth");
  await assertRejects(() => openFile(path), GlimpseError, `${path}: it does not exist`);
  await assertRejects(() => openFile(folder), GlimpseError, folder);
});

inFolder("a file is written whole, and its folder with it", async (folder) => {
  const path = join(folder, "new", "deep", "file.txt");
  await writeFileAtomic(path, "first");
  assertEquals(await Deno.readTextFile(path), "first");
  await writeFileAtomic(path, new Uint8Array([1, 2, 3]));
  async function* chunks() {
    for (let i = 0; i < 3; i++) yield await Promise.resolve(new Uint8Array([i]));
  }
  await writeFileAtomic(path, chunks());
  assertEquals(await Deno.readFile(path), new Uint8Array([0, 1, 2]));
  assertEquals(names(join(folder, "new", "deep")), ["file.txt"]);
});

inFolder("a write that fails leaves the old file and nothing else", async (folder) => {
  const path = join(folder, "file");
  await writeFileAtomic(path, "old");
  async function* failing() {
    yield await Promise.resolve(new Uint8Array(10));
    throw new RangeError("no more");
  }
  await assertRejects(() => writeFileAtomic(path, failing()), RangeError, "no more");
  const { write } = Deno.FsFile.prototype;
  Deno.FsFile.prototype.write = () =>
    Promise.reject(Object.assign(new Error("No space left on device"), { code: "ENOSPC" }));
  try {
    const error = await assertRejects(() => writeFileAtomic(path, "new"), GlimpseError, path);
    assert(error.message.includes("the disk is full"), error.message);
  } finally {
    Deno.FsFile.prototype.write = write;
  }
  await Deno.mkdir(join(folder, "taken", "by"), { recursive: true });
  await assertRejects(() => writeFileAtomic(join(folder, "taken"), "x"), GlimpseError, "taken");
  await assertRejects(() => writeFileAtomic(join(path, "x"), "x"), GlimpseError, "a file stands");
  assertEquals(await Deno.readTextFile(path), "old");
  assertEquals(names(folder), ["file", "taken"]);
});

inFolder("weights are told apart by content, whatever their name", async (folder) => {
  const tensors = everyKind();
  const path = join(folder, "weights.dat");
  for (const chunks of [safetensorsChunks(tensors), pthChunks(tensors, "weights")]) {
    await writeFileAtomic(path, chunks);
    await using weights = await openWeights(path);
    await assertTensors(weights, tensors);
  }
  const cases: [string | Uint8Array, string][] = [
    ["", "is empty"],
    ["version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"],
    ["<html>Not found</html>", "not a weight file"],
    ["{}", "weight_map"],
    ["PK\x03\x04", "zip"],
  ];
  for (const [content, message] of cases) {
    await writeFileAtomic(path, content);
    await assertRejects(() => openWeights(path), FormatError, message);
  }
});

inFolder("a folder gives safetensors, then their index, then PyTorch's file", async (folder) => {
  await assertRejects(() => openWeights(folder), GlimpseError, "model.safetensors.index.json");
  const [first, ...rest] = everyKind();
  const write = (name: string, content: Parameters<typeof writeFileAtomic>[1]) =>
    writeFileAtomic(join(folder, name), content);
  const holds = async (tensors: typeof rest) => {
    await using weights = await openWeights(folder);
    await assertTensors(weights, tensors);
  };
  await write("part-1.bin", pthChunks([first!], "archive"));
  await write("part-2.bin", pthChunks(rest, "archive"));
  const map = rest.map(({ name }) => [name, "part-2.bin"]);
  map.push([first!.name, "part-1.bin"]);
  const index = JSON.stringify({ weight_map: Object.fromEntries(map) });
  await write("pytorch_model.bin.index.json", index);
  await holds([first!, ...rest]);
  await write("pytorch_model.bin", pthChunks([first!], "archive"));
  await holds([first!]);
  await write("model.safetensors.index.json", index);
  await holds([first!, ...rest]);
  await write("model.safetensors", safetensorsChunks(rest));
  await holds(rest);
  await Deno.remove(join(folder, "model.safetensors"));
  await Deno.remove(join(folder, "part-1.bin"));
  await assertRejects(() => openWeights(folder), GlimpseError, "part-1.bin");
});

inFolder(
  "whether a folder can be written to is known before, and leaves nothing",
  async (folder) => {
    await requireWritable(folder);
    await requireWritable(join(folder, "a", "b"));
    assertEquals(names(folder), []);
    await Deno.mkdir(join(folder, "a"));
    await requireWritable(join(folder, "a", "b"));
    assertEquals([names(folder), names(join(folder, "a"))], [["a"], []]);
    await Deno.writeTextFile(join(folder, "file"), "");
    for (const path of [join(folder, "file"), join(folder, "file", "b")]) {
      await assertRejects(
        () => requireWritable(path),
        GlimpseError,
        `write to the folder ${path}: `,
      );
    }
    assertEquals(names(folder), ["a", "file"]);
  },
);

Deno.test({
  name: "a folder that may be written to but not looked at stays, though it is empty",
  permissions: { write: true, read: false },
  async fn() {
    const folder = await Deno.makeTempDir();
    await requireWritable(folder);
    await Deno.remove(folder);
  },
});
