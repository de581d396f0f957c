import { assert, assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import sharp from "sharp";
import { decodePicture } from "../data/picture.ts";
import { DataError } from "../kernels/runtime/errors.ts";
import { bytesSource } from "../model/bytes.ts";
import { crc32 } from "../model/crc32.ts";
import { ImageProcessor } from "../model/image_processor.ts";
import { readSafetensors } from "../model/safetensors.ts";
import { needsShared, readJson, SHARED } from "./support/tokenizers.ts";

const PICTURES = new URL("./fixtures/pictures/", import.meta.url);
const path = (name: string) => fromFileUrl(new URL(name, PICTURES));
const processor = new ImageProcessor();

async function pixels(source: string | Uint8Array): Promise<Uint8Array> {
  return processor.process(await decodePicture(source));
}

Deno.test("pictures come out as Pillow and CLIP's processor make them, to the last bit", async () => {
  const expected = readJson<Record<string, string>>(new URL("sha256.json", PICTURES));
  for (const [name, digest] of Object.entries(expected)) {
    const decoded = name.startsWith("decoded.") ? name.slice("decoded.".length) : undefined;
    const bytes = decoded ? (await decodePicture(path(decoded))).data : await pixels(path(name));
    const hash = await crypto.subtle.digest("SHA-256", new Uint8Array(bytes));
    assertEquals(new Uint8Array(hash).toHex(), digest, name);
  }
});

const golden = { name: "every golden picture, those for evaluation too", ...needsShared("golden") };
Deno.test(golden, async () => {
  const file = new URL("golden/data/pixels.safetensors", SHARED);
  const { tensors } = await readSafetensors(bytesSource("pixels", await Deno.readFile(file)));
  for (const [name, tensor] of tensors) {
    if (name.startsWith("decoded.")) continue;
    const at = name.startsWith("eval/")
      ? `minimind-v/eval_images/${name.slice(5)}`
      : `golden/data/images/${name}`;
    const [actual, expected] = [
      await pixels(fromFileUrl(new URL(at, SHARED))),
      await tensor.read(),
    ];
    const most = expected.reduce((max, v, i) => Math.max(max, Math.abs(v - actual[i]!)), 0);
    assertEquals([actual.length, most], [expected.length, 0], name);
  }
});

const RED_GREEN = { raw: { width: 2, height: 1, channels: 3 as const } };
const redGreen = () => sharp(Uint8Array.of(250, 3, 4, 5, 240, 6), RED_GREEN);

Deno.test("EXIF orientation is left alone", async () => {
  const turned = await redGreen().withMetadata({ orientation: 6 }).png().toBuffer();
  assertEquals((await sharp(turned).metadata()).orientation, 6);
  const { width, height } = await decodePicture(turned);
  assertEquals([width, height], [2, 1]);
});

Deno.test("a colour profile is left alone", async () => {
  const withProfile = await redGreen().withIccProfile("p3").png().toBuffer();
  const [stored] = (await decodePicture(withProfile)).data;
  assert(stored! < 240, "red of Display P3 is stored as a smaller number");
  const [converted] = await sharp(withProfile).removeAlpha().raw().toBuffer();
  assert(converted! > 245, "and a profile that is applied brings it back");
});

Deno.test("16-bit PNG keeps the high bytes", async () => {
  const raw = Uint16Array.of(0x1234, 0xabcd, 0xff80);
  const deep = await sharp(raw, { raw: { width: 1, height: 1, channels: 3 } })
    .toColourspace("rgb16").png().toBuffer();
  assertEquals((await sharp(deep).metadata()).depth, "ushort");
  assertEquals([...(await decodePicture(deep)).data], [0x12, 0xab, 0xff]);
});

Deno.test("an animated GIF gives its first frame", async () => {
  const frames = sharp(Uint8Array.of(255, 0, 0, 0, 0, 255), {
    raw: { width: 1, height: 2, channels: 3, pageHeight: 1 },
  });
  const { data, height } = await decodePicture(await frames.gif({ delay: [50, 50] }).toBuffer());
  assertEquals([height, ...data], [1, 255, 0, 0]);
});

/** A bitmap of two columns with rows as they are stored. */
function bmp(depth: number, height: number, palette: number[], rows: number[]): Uint8Array {
  const bytes = new Uint8Array(54 + palette.length + rows.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  view.setUint32(10, 54 + palette.length, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, 2, true);
  view.setInt32(22, height, true);
  view.setUint16(28, depth, true);
  view.setUint32(46, palette.length / 4, true);
  bytes.set([...palette, ...rows], 54);
  return bytes;
}

Deno.test("bitmaps of every plain kind are read", async () => {
  const rgb = async (bytes: Uint8Array) => [...(await decodePicture(bytes)).data];
  const palette = [1, 2, 3, 0, 4, 5, 6, 0];
  assertEquals(await rgb(bmp(1, 1, palette, [0x40, 0, 0, 0])), [3, 2, 1, 6, 5, 4]);
  assertEquals(await rgb(bmp(4, 1, palette, [0x10, 0, 0, 0])), [6, 5, 4, 3, 2, 1]);
  assertEquals(await rgb(bmp(8, 1, palette, [1, 0, 0, 0])), [6, 5, 4, 3, 2, 1]);
  const row = [9, 8, 7, 6, 5, 4, 0, 0];
  assertEquals(await rgb(bmp(24, 1, [], row)), [7, 8, 9, 4, 5, 6]);
  const four = [9, 8, 7, 0, 6, 5, 4, 0];
  assertEquals(await rgb(bmp(32, 1, [], four)), [7, 8, 9, 4, 5, 6]);
  const two = [1, 1, 1, 1, 1, 1, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0];
  assertEquals((await rgb(bmp(24, 2, [], two)))[0], 2, "rows from the bottom up");
  assertEquals((await rgb(bmp(24, -2, [], two)))[0], 1, "rows from the top down");
});

Deno.test("pictures that cannot be used are refused with their path or a reason", async () => {
  const refused = (source: string | Uint8Array, part: string) =>
    assertRejects(() => decodePicture(source), DataError, part);
  await refused(path("nowhere.png"), `picture ${path("nowhere.png")} does not exist.`);
  await refused(
    "/nowhere/a.png",
    "picture /nowhere/a.png does not exist: there is no folder /nowhere.",
  );
  await refused(path(""), `picture ${path("")} cannot be read: it is a folder.`);
  await refused(path("sha256.json"), path("sha256.json"));
  await refused(new Uint8Array(), "empty");
  await refused(new TextEncoder().encode("<svg xmlns='http://www.w3.org/2000/svg'/>"), "cannot");
  const jpeg = await Deno.readFile(path("portrait.jpg"));
  await refused(jpeg.subarray(0, jpeg.length / 2), "cannot be read");
  const png = await Deno.readFile(path("palette.png"));
  await refused(png.subarray(0, png.length - 3000), "cannot be read");
  const bomb = bmp(24, 1, [], []);
  new DataView(bomb.buffer).setInt32(18, 200_000_000, true);
  await refused(bomb, "178956970");
  await refused(bmp(24, 3, [], [1, 2, 3, 4, 5, 6, 0, 0]), "ends before");
  await refused(bmp(16, 1, [], [1, 2, 3, 4]), "16 bits");
  await refused(bmp(8, 1, [1, 2, 3, 0], [0, 1, 0, 0]), "palette");
});

Deno.test("a PNG that claims more pixels than the limit is refused before it is decoded", async () => {
  const png = await redGreen().png().toBuffer();
  const view = new DataView(png.buffer, png.byteOffset);
  view.setUint32(16, 40_000);
  view.setUint32(20, 40_000);
  view.setUint32(29, crc32(png.subarray(12, 29)));
  await assertRejects(() => decodePicture(png), DataError, "pixel limit");
});
