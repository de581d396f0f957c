/** Windows bitmaps, which libvips does not read: uncompressed, 1 to 8 bits by palette, 24 or 32 bits. */

import { DataError } from "../kernels/runtime/errors.ts";

/** A decoded picture, as `model/resample.ts` takes it. */
export interface RgbPicture {
  /** Columns. */
  readonly width: number;
  /** Rows, the upmost first. */
  readonly height: number;
  /** Red, green and blue of each pixel [height, width, 3]. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** Always RGB. */
  readonly channels: 3;
}

/** Whether a file begins as a Windows bitmap does. */
export function isBmp(bytes: Uint8Array): boolean {
  return bytes[0] === 0x42 && bytes[1] === 0x4d;
}

const RGB = 0, BIT_FIELDS = 3;
const PALETTE_DEPTHS = [1, 2, 4, 8];

/**
 * Decodes a Windows bitmap.
 *
 * @param bytes The file.
 * @param maxPixels The most pixels that it may have.
 * @throws {DataError} where it is truncated, too large, compressed, or of 16 bits a pixel.
 */
export function decodeBmp(bytes: Uint8Array, maxPixels: number): RgbPicture {
  if (bytes.length < 54) throw new DataError("the bitmap ends within its header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (at: number) => view.getUint32(at, true);
  const [pixelsAt, headerSize, depth, compression] = [
    u32(10),
    u32(14),
    view.getUint16(28, true),
    u32(30),
  ];
  const width = view.getInt32(18, true), signedHeight = view.getInt32(22, true);
  const height = Math.abs(signedHeight);
  if (headerSize < 40 || width < 1 || height < 1) {
    throw new DataError(
      `the bitmap has a header of ${headerSize} bytes and ${width}×${height} pixels`,
    );
  }
  if (width * height > maxPixels) {
    throw new DataError(`${width}×${height} pixels are more than the limit of ${maxPixels}`);
  }
  const indexed = PALETTE_DEPTHS.includes(depth);
  const plain = compression === RGB ||
    (depth === 32 && compression === BIT_FIELDS && isBgrx(u32, bytes));
  if (!plain || (!indexed && depth !== 24 && depth !== 32)) {
    throw new DataError(
      `a bitmap of ${depth} bits a pixel and compression ${compression} cannot be read; ` +
        "save it as PNG",
    );
  }
  const stride = Math.ceil(width * depth / 32) * 4;
  const paletteAt = 14 + headerSize;
  const paletteEnd = paletteAt + 4 * Math.min(u32(46) || 2 ** depth, 2 ** depth);
  if (pixelsAt + stride * height > bytes.length || (indexed && paletteEnd > bytes.length)) {
    throw new DataError(`the bitmap ends before its ${height} rows do`);
  }
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    const row = pixelsAt + stride * (signedHeight > 0 ? height - 1 - y : y);
    for (let x = 0; x < width; x++) {
      const from = indexed
        ? paletteAt + 4 * paletteIndex(bytes, row, x, depth)
        : row + x * (depth / 8);
      if (indexed && from >= paletteEnd) {
        throw new DataError("a pixel is beyond the bitmap's palette");
      }
      for (let channel = 2; channel >= 0; channel--) rgb[to++] = bytes[from + channel]!;
    }
  }
  return { width, height, data: rgb, channels: 3 };
}

function paletteIndex(bytes: Uint8Array, row: number, x: number, depth: number): number {
  const bit = x * depth;
  return (bytes[row + (bit >> 3)]! >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
}

/** Whether the channel masks are those of blue, green, red in this order. */
function isBgrx(u32: (at: number) => number, bytes: Uint8Array): boolean {
  return bytes.length >= 66 && u32(54) === 0xff0000 && u32(58) === 0xff00 && u32(62) === 0xff;
}

/** Encodes a picture as a bitmap of 24 bits a pixel, which is fast to write and to read. */
export function encodeBmp({ width, height, data }: RgbPicture): Uint8Array<ArrayBuffer> {
  const stride = Math.ceil(3 * width / 4) * 4;
  const bytes = new Uint8Array(54 + stride * height);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  const fields: [at: number, value: number][] = [
    [2, bytes.length],
    [10, 54],
    [14, 40],
    [18, width],
    [22, height],
    [26, 1 | 24 << 16],
    [34, stride * height],
  ];
  for (const [at, value] of fields) view.setUint32(at, value, true);
  for (let y = 0; y < height; y++) {
    let at = 54 + (height - 1 - y) * stride;
    for (let from = 3 * y * width; from < 3 * (y + 1) * width; from += 3) {
      bytes[at++] = data[from + 2]!;
      bytes[at++] = data[from + 1]!;
      bytes[at++] = data[from]!;
    }
  }
  return bytes;
}
