import { assert, assertEquals, assertRejects } from "@std/assert";
import { FormatError } from "../kernels/runtime/errors.ts";
import { type ByteSource, bytesSource } from "../model/bytes.ts";
import { crc32 } from "../model/crc32.ts";
import { readZip } from "../model/zip.ts";
import { zipChunks } from "../model/zip_writer.ts";
import { collect } from "./support/weight_files.ts";

const text = new TextEncoder();
const contents = (files: Record<string, Uint8Array<ArrayBuffer>>) =>
  Object.entries(files).map(([name, bytes]) => ({ name, read: () => Promise.resolve(bytes) }));

/** Pieces that stand one after the other, not copied into one. */
function piecesSource(pieces: readonly Uint8Array[]): ByteSource {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  return {
    name: "pieces",
    size,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      let start = 0;
      for (const piece of pieces) {
        const from = Math.max(0, offset - start);
        const to = Math.min(piece.length, offset + length - start);
        if (from < to) bytes.set(piece.subarray(from, to), start + from - offset);
        start += piece.length;
      }
      return await Promise.resolve(bytes);
    },
  };
}

Deno.test("crc32 is that of zip", () => {
  assertEquals(crc32(text.encode("123456789")), 0xcbf43926);
  assertEquals(crc32(text.encode("The quick brown fox jumps over the lazy dog")), 0x414fa339);
  assertEquals(crc32(new Uint8Array(0)), 0);
});

Deno.test("zip: files read back, in part too, and stand aligned", async () => {
  const bytes = await collect(
    zipChunks(contents({ "a/ü": text.encode("hello"), "a/b": new Uint8Array(0) }), 64),
  );
  const entries = await readZip(bytesSource("a.zip", bytes));
  assertEquals([...entries.keys()], ["a/ü", "a/b"]);
  assertEquals(await entries.get("a/ü")!.read(1, 3), text.encode("ell"));
  assertEquals(await entries.get("a/b")!.read(0, 0), new Uint8Array(0));
  await assertRejects(() => entries.get("a/ü")!.read(1, 5), FormatError, "5 bytes were wanted");
  assertEquals(bytes.subarray(64, 69), text.encode("hello"));
});

Deno.test("zip: beyond 4 GiB offsets take 64 bits", async () => {
  const block = new Uint8Array(2 ** 28);
  const files = Array.from({ length: 17 }, (_, i) => ({
    name: `${i}`,
    read: () => Promise.resolve(i < 16 ? block : text.encode("end")),
  }));
  const entries = await readZip(piecesSource(await Array.fromAsync(zipChunks(files))));
  assertEquals(await entries.get("16")!.read(0, 3), text.encode("end"));
  assertEquals(entries.get("3")!.size, 2 ** 28);
});

Deno.test("zip: compressed and repeated files are refused, and comments are not", async () => {
  const name = text.encode("name");
  const bytes = await collect(zipChunks(contents({ one: name, two: name })));
  const directory = bytes.length - 22 - 20 - 56 - 2 * 49;
  const changed = (change: (bytes: Uint8Array) => void) => {
    const copy = bytes.slice();
    change(copy);
    return readZip(bytesSource("a.zip", copy));
  };
  await assertRejects(() => changed((b) => b[directory + 10] = 8), FormatError, "compressed");
  await assertRejects(() => changed((b) => b[directory + 8] = 1), FormatError, "encrypted");
  await assertRejects(
    () => changed((b) => b.set(text.encode("two"), directory + 46)),
    FormatError,
    "two twice",
  );
  const commented = new Uint8Array(bytes.length + 300);
  commented.set(bytes);
  commented.set([300 & 255, 300 >> 8], bytes.length - 2);
  assert((await readZip(bytesSource("a.zip", commented))).has("one"));
});
