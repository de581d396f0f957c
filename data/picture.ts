/** Pictures from files: decoded as Pillow decodes them, without any resize. */

import { dirname } from "@std/path";
import type { Sharp } from "sharp";
import { DataError } from "../kernels/runtime/errors.ts";
import { decodeBmp, isBmp, type RgbPicture } from "./bmp.ts";
import { reasonOf } from "./files.ts";

export type { RgbPicture };

/** Where Pillow refuses a picture as a decompression bomb: twice a quarter of a gigabyte of RGB. */
const MAX_PIXELS = 178_956_970;

/** What Pillow reads too; libvips would also draw SVG and PDF. */
const FORMATS = ["jpeg", "png", "webp", "gif", "tiff", "heif"];

/**
 * Decodes a picture to 8-bit RGB. JPEG, PNG, WebP, GIF (its first frame), TIFF, AVIF and BMP are read.
 *
 * The pixels are those of Pillow's `Image.open(path).convert("RGB")`: EXIF orientation and colour
 * profiles are left alone, alpha is dropped and not blended. Known differences: a 16-bit grey PNG
 * keeps its high byte, where Pillow cuts every value above 255 to white; a transparent pixel of a
 * GIF is black, where Pillow shows the palette's colour.
 *
 * @param source The file's bytes, or its path.
 * @param name What errors call it.
 * @param maxPixels Larger pictures are refused before they are decoded.
 * @throws {DataError} that names the path, where there is one, and says what is wrong.
 */
export async function decodePicture(
  source: Uint8Array | string,
  name: string = typeof source === "string" ? `picture ${source}` : "the picture",
  maxPixels: number = MAX_PIXELS,
): Promise<RgbPicture> {
  const bytes = typeof source === "string" ? await readPicture(source) : source;
  const open = isBmp(bytes) ? undefined : await loadSharp();
  try {
    if (bytes.length === 0) throw new DataError("the file is empty");
    return open ? await decodeBySharp(open(bytes), maxPixels) : decodeBmp(bytes, maxPixels);
  } catch (cause) {
    throw unreadable(name, cause);
  }
}

/**
 * The size of a picture, read from its beginning alone; what follows may still be broken.
 *
 * @param name What errors call it.
 * @throws {DataError} where it is not a picture.
 */
export async function pictureSize(
  bytes: Uint8Array,
  name = "the picture",
): Promise<{ width: number; height: number }> {
  try {
    if (isBmp(bytes)) return decodeBmp(bytes, MAX_PIXELS);
    const open = await loadSharp();
    const { width, height } = await open(bytes).metadata();
    return { width, height };
  } catch (cause) {
    throw unreadable(name, cause);
  }
}

/**
 * Reads a picture's file.
 *
 * @throws {DataError} that names the path, where it does not exist or cannot be read.
 */
export async function readPicture(path: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const why = cause instanceof Deno.errors.NotFound
      ? await whyMissing(dirname(path))
      : `cannot be read: ${reasonOf(cause)}`;
    throw new DataError(`picture ${path} ${why}.`, { cause });
  }
}

/** One picture of many is missing, or all are, because the folder's name is wrong. */
async function whyMissing(folder: string): Promise<string> {
  const isThere = await Deno.stat(folder).then(() => true, () => false);
  return isThere ? "does not exist" : `does not exist: there is no folder ${folder}`;
}

/** The decoder repeats itself, a line each time; the first says enough. */
function unreadable(name: string, cause: unknown): DataError {
  const [why = "no reason is known"] = (cause as Error).message.trim().split(/\s*\n\s*/);
  return new DataError(`${name} cannot be read: ${why.replace(/[.;]$/, "")}.`, { cause });
}

async function decodeBySharp(picture: Sharp, maxPixels: number): Promise<RgbPicture> {
  const { format, space, width: columns, height: lines } = await picture.metadata();
  if (columns * lines > maxPixels) {
    throw new DataError(`it has ${columns} × ${lines} pixels; at most ${maxPixels} are taken`);
  }
  if (!FORMATS.includes(format)) throw new DataError(`its format is ${format}; save it as PNG`);
  const isCmyk = space === "cmyk";
  if (isCmyk) picture.pipelineColourspace("cmyk");
  const { data, info } = await picture.removeAlpha().toColourspace(isCmyk ? "cmyk" : "srgb")
    .raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  if (data.length !== width * height * (isCmyk ? 4 : 3)) {
    throw new DataError(`it has ${info.channels} channels`);
  }
  return { width, height, data: isCmyk ? cmykToRgb(data) : new Uint8Array(data), channels: 3 };
}

/** Pillow's conversion: (255 − K) less the ink's share of it, each product rounded. */
function cmykToRgb(cmyk: Uint8Array): Uint8Array<ArrayBuffer> {
  const rgb = new Uint8Array(cmyk.length / 4 * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4) {
    const light = 255 - cmyk[from + 3]!;
    for (let ink = 0; ink < 3; ink++) {
      const product = cmyk[from + ink]! * light + 128;
      rgb[to++] = light - (((product >> 8) + product) >> 8);
    }
  }
  return rgb;
}

let sharpLoading: Promise<(bytes: Uint8Array) => Sharp> | undefined;

/** Loads the native library the first time that a picture needs it. */
function loadSharp(): Promise<(bytes: Uint8Array) => Sharp> {
  sharpLoading ??= import("sharp").then(({ default: sharp }) => {
    sharp.cache(false);
    sharp.concurrency(1);
    return (bytes) =>
      sharp(bytes, { ignoreIcc: true, failOn: "error", limitInputPixels: MAX_PIXELS });
  });
  return sharpLoading;
}
