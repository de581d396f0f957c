import { assertEquals, assertThrows } from "@std/assert";
import { FormatError, ShapeError } from "../kernels/runtime/errors.ts";
import { bytesSource } from "../model/bytes.ts";
import { ImageProcessor } from "../model/image_processor.ts";
import { type Filter, type Image, resample } from "../model/resample.ts";
import { readSafetensors } from "../model/safetensors.ts";
import { needsShared, readFixture, SHARED } from "./support/tokenizers.ts";

/** The pixels that tests/fixtures/data/make.py makes. */
function noise(width: number, height: number, channels: number): Image {
  let state = width * 7919 + height;
  const data = Uint8Array.from({ length: width * height * channels }, () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state & 0x4000000 ? state >> 16 & 255 : 255 * (state >> 27 & 1);
  });
  return { data, width, height, channels };
}

interface PillowCase {
  size: [number, number];
  channels: number;
  to: [number, number];
  filter: Filter;
  sha256: string;
}

Deno.test("resampling equals Pillow's to the last bit", async () => {
  for (const { size, channels, to, filter, sha256 } of readFixture<PillowCase[]>("pillow.json")) {
    const out = Uint8Array.from(resample(noise(...size, channels), ...to, filter));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", out)).toHex();
    assertEquals(digest, sha256, `${size} to ${to} by ${filter}, ${channels} channels`);
  }
});

Deno.test("a box is a piece of the whole", () => {
  const image = noise(61, 47, 3);
  for (const [width, height] of [[30, 20], [61, 20], [30, 47], [61, 47], [100, 90]] as const) {
    const whole = resample(image, width, height, "bicubic");
    const box = { left: 3, top: 5, width: 11, height: 7 };
    const part = resample(image, width, height, "bicubic", box);
    for (let y = 0; y < box.height; y++) {
      const begin = ((y + box.top) * width + box.left) * 3;
      assertEquals(part.subarray(y * 33, y * 33 + 33), whole.subarray(begin, begin + 33));
    }
  }
});

Deno.test("the image that comes in stays as it is and is never given back", () => {
  const image = noise(8, 8, 3);
  const before = image.data.slice();
  resample(image, 8, 8, "bicubic").fill(0);
  assertEquals(image.data, before);
});

Deno.test("sizes that cannot be are refused", () => {
  const image = noise(4, 4, 3);
  assertThrows(() => resample(image, 0, 4, "bicubic"), ShapeError, "0×4");
  assertThrows(() => resample(image, 2.5, 4, "bicubic"), ShapeError, "2.5×4");
  assertThrows(() => resample({ ...image, width: 5 }, 4, 4, "bicubic"), ShapeError, "48 bytes");
  const box = { left: 2, top: 0, width: 3, height: 1 };
  assertThrows(() => resample(image, 4, 4, "bicubic", box), ShapeError, "box 3×1");
});

async function checkPictures(url: URL, names: string[]): Promise<void> {
  const { tensors } = await readSafetensors(bytesSource("pixels", Deno.readFileSync(url)));
  const processor = new ImageProcessor();
  for (const name of names) {
    const decoded = tensors.get(`decoded.${name}`)!;
    const [height = 0, width = 0] = decoded.shape;
    const image = { data: await decoded.read(), width, height, channels: 3 };
    assertEquals(processor.process(image), new Uint8Array(await tensors.get(name)!.read()), name);
  }
}

Deno.test("pictures equal those of transformers' CLIP processor", () =>
  checkPictures(new URL("fixtures/data/pixels.safetensors", import.meta.url), [
    "portrait.jpg",
    "tiny.png",
  ]));

Deno.test({
  name: "a picture of four inks equals transformers' once it is decoded",
  ...needsShared("golden/data/pixels.safetensors"),
  fn: () => checkPictures(new URL("golden/data/pixels.safetensors", SHARED), ["cmyk.jpg"]),
});

Deno.test("without a file the processor is that of CLIP ViT-B/16", () => {
  const { size, mean, std, scale } = new ImageProcessor();
  assertEquals(size, 224);
  assertEquals(scale, 1 / 255);
  assertEquals(mean, [0.48145466, 0.4578275, 0.40821073]);
  assertEquals(std, [0.26862954, 0.26130258, 0.27577711]);
});

Deno.test("the fields of preprocessor_config.json are respected", () => {
  const image = noise(40, 30, 3);
  const plain = new ImageProcessor({ do_resize: false, crop_size: 8, do_normalize: false });
  const pixels = plain.process(image);
  assertEquals([plain.mean, plain.std], [[0, 0, 0], [1, 1, 1]]);
  assertEquals(pixels.length, 3 * 8 * 8);
  assertEquals(pixels[64 + 8 + 2], image.data[((11 + 1) * 40 + 16 + 2) * 3 + 1]);

  const square = new ImageProcessor({
    do_center_crop: false,
    size: { height: 12, width: 12 },
    resample: 2,
    rescale_factor: 0.5,
  });
  assertEquals(square.scale, 0.5);
  const whole = resample(image, 12, 12, "bilinear");
  assertEquals(square.process(image)[2 * 144 + 5], whole[5 * 3 + 2]);
});

Deno.test("the longer edge is rounded down, as transformers does", () => {
  // 10 × 19 at edge 7: 13.3 rows become 13, of which rows 3 to 9 stay.
  const image = noise(10, 19, 3);
  const out = new ImageProcessor({ size: 7, crop_size: { height: 7, width: 7 } }).process(image);
  const box = { left: 0, top: 3, width: 7, height: 7 };
  const expected = resample(image, 7, 13, "bicubic", box);
  assertEquals(
    Array.from(out.subarray(0, 49)),
    Array.from({ length: 49 }, (_, i) => expected[i * 3]),
  );
});

Deno.test("a picture smaller than the crop stands on black", () => {
  const image = { data: new Uint8Array(5 * 3 * 3).fill(9), width: 5, height: 3, channels: 3 };
  const out = new ImageProcessor({ do_resize: false, crop_size: 6 }).process(image);
  // transformers pads ceil((6 - 3) / 2) = 2 rows above and ceil((6 - 5) / 2) = 1 column before.
  const rows = Array.from({ length: 6 }, (_, y) => Array.from(out.subarray(y * 6, y * 6 + 6)));
  const [black, grey] = [[0, 0, 0, 0, 0, 0], [0, 9, 9, 9, 9, 9]];
  assertEquals(rows, [black, black, grey, grey, grey, black]);
});

Deno.test("what is not supported is refused by name", () => {
  const refuse = (config: unknown, word: string) =>
    assertThrows(() => new ImageProcessor(config), FormatError, word);
  refuse([], "the file");
  refuse({ resample: 0 }, "resample");
  refuse({ do_resize: 1 }, "do_resize");
  refuse({ size: { longest_edge: 224 } }, "size");
  refuse({ size: -1 }, "size");
  refuse({ crop_size: { height: 2, width: 3 } }, "square");
  refuse({ do_center_crop: false }, "do_center_crop");
  refuse({ image_mean: [1, 2] }, "image_mean");
  refuse({ image_std: [1, 0, 1] }, "image_std");
  refuse({ rescale_factor: "1/255" }, "rescale_factor");
});

Deno.test("a picture that is not RGB is refused", () => {
  assertThrows(() => new ImageProcessor().process(noise(4, 4, 1)), ShapeError, "not 1");
});
