/**
 * Pillow's resampling of 8-bit images, equal to the last bit.
 *
 * Two passes, rows then columns, each a sum of up to a few dozen pixels with weights in 22-bit fixed
 * point, rounded to 8 bits in between. Source: Pillow, `src/libImaging/Resample.c`.
 * Pillow 12.2 and later take the passes in the other order for pictures over 100 times as tall as wide.
 */

import { ShapeError } from "../kernels/runtime/errors.ts";

/** The filters of Pillow that pictures for models are resized with. */
export type Filter = "bilinear" | "bicubic" | "lanczos";

/** An image of interleaved 8-bit channels. */
export interface Image {
  /** Pixels, [height, width, channels]. */
  data: Uint8Array;
  /** In pixels. */
  width: number;
  /** In pixels. */
  height: number;
  /** 3 for RGB. */
  channels: number;
}

/** A rectangle in pixels. */
export interface Box {
  /** The first column. */
  left: number;
  /** The first row. */
  top: number;
  /** The number of columns. */
  width: number;
  /** The number of rows. */
  height: number;
}

/** 8 bits of the 32 hold the pixel, and 2 the overshoot of negative weights. */
const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

const KERNELS: Record<Filter, { radius: number; at: (x: number) => number }> = {
  bilinear: { radius: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { radius: 2, at: cubic },
  lanczos: { radius: 3, at: (x) => x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0 },
};

/** Keys' cubic convolution with a = -1/2. */
function cubic(x: number): number {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** For each output pixel of a pass, the first input pixel and the weights from there on. */
interface Weights {
  first: Int32Array;
  count: Int32Array;
  /** [outputs, taps], zero beyond `count`. */
  values: Int32Array;
  taps: number;
}

/** The weights of the outputs `from` to `from + outputs` of `inSize` pixels resized to `outSize`. */
function weightsOf(
  inSize: number,
  outSize: number,
  filter: Filter,
  from: number,
  outputs: number,
): Weights {
  const { radius, at } = KERNELS[filter];
  const scale = inSize / outSize;
  const stretch = Math.max(scale, 1);
  const inverse = 1 / stretch;
  const support = radius * stretch;
  const taps = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(outputs);
  const count = new Int32Array(outputs);
  const values = new Int32Array(outputs * taps);
  const w = new Float64Array(taps);
  for (let i = 0; i < outputs; i++) {
    const center = (i + from + 0.5) * scale;
    const begin = Math.max(Math.trunc(center - support + 0.5), 0);
    const n = Math.min(Math.trunc(center + support + 0.5), inSize) - begin;
    let sum = 0;
    for (let j = 0; j < n; j++) sum += w[j] = at((j + begin - center + 0.5) * inverse);
    for (let j = 0; j < n; j++) {
      const v = (sum !== 0 ? w[j]! / sum : w[j]!) * (1 << PRECISION_BITS);
      values[i * taps + j] = Math.trunc(v < 0 ? v - 0.5 : v + 0.5);
    }
    first[i] = begin;
    count[i] = n;
  }
  return { first, count, values, taps };
}

/**
 * Resizes an image and gives a rectangle of the result; only what that rectangle needs is computed.
 *
 * @param image the pixels, [height, width, channels]
 * @param width the width that the whole image is resized to
 * @param height the height that the whole image is resized to
 * @param filter the filter that weighs the pixels
 * @param box what to give of the resized image; all of it if left out
 * @returns pixels, [box.height, box.width, channels]
 * @throws ShapeError where sizes are not whole numbers above 0 or the box leaves the image
 * @example
 * ```ts
 * import { resample } from "@glimpse/vlm";
 *
 * const image = { data: Uint8Array.of(0, 255), width: 2, height: 1, channels: 1 };
 * resample(image, 4, 1, "bilinear"); // 0, 64, 191, 255
 * ```
 */
export function resample(
  image: Image,
  width: number,
  height: number,
  filter: Filter,
  box: Box = { left: 0, top: 0, width, height },
): Uint8Array {
  const { data, channels } = image;
  checkSizes(image, width, height, box);
  const stride = image.width * channels;
  const across = (from: number, rows: number): Uint8Array => {
    const band = data.subarray(from * stride, (from + rows) * stride);
    if (width === image.width) return cropColumns(band, rows, stride, box, channels);
    const columns = weightsOf(image.width, width, filter, box.left, box.width);
    return channels === 3
      ? resampleRowsOfRgb(band, rows, stride, columns)
      : resampleRows(band, rows, stride, columns, channels);
  };
  if (height === image.height) return across(box.top, box.height);
  const rows = weightsOf(image.height, height, filter, box.top, box.height);
  const from = rows.first[0]!;
  const to = rows.first[box.height - 1]! + rows.count[box.height - 1]!;
  const middle = across(from, to - from);
  return resampleColumns(middle, from, box.width * channels, rows);
}

function checkSizes(image: Image, width: number, height: number, box: Box): void {
  const sizes = [image.width, image.height, image.channels, width, height, box.width, box.height];
  if (!sizes.every((size) => Number.isInteger(size) && size > 0)) {
    throw new ShapeError(
      `An image of ${image.width}×${image.height}×${image.channels} cannot be resized to ` +
        `${width}×${height}: every size must be a whole number above 0.`,
    );
  }
  if (image.data.length !== image.width * image.height * image.channels) {
    throw new ShapeError(
      `An image of ${image.width}×${image.height}×${image.channels} has ` +
        `${image.data.length} bytes of pixels.`,
    );
  }
  const { left, top } = box;
  const inside = left >= 0 && top >= 0 && left + box.width <= width && top + box.height <= height;
  if (!inside || !Number.isInteger(left) || !Number.isInteger(top)) {
    throw new ShapeError(
      `The box ${box.width}×${box.height} at (${left}, ${top}) is not within ${width}×${height}.`,
    );
  }
}

function cropColumns(
  source: Uint8Array,
  rows: number,
  stride: number,
  { left, width }: Box,
  channels: number,
): Uint8Array {
  if (width * channels === stride) return source.slice();
  const out = new Uint8Array(rows * width * channels);
  for (let y = 0; y < rows; y++) {
    const begin = y * stride + left * channels;
    out.set(source.subarray(begin, begin + width * channels), y * width * channels);
  }
  return out;
}

/** A sum in fixed point to 0…255. */
function toByte(sum: number): number {
  const v = sum >> PRECISION_BITS;
  return v < 0 ? 0 : v > 255 ? 255 : v;
}

function resampleRows(
  source: Uint8Array,
  rows: number,
  stride: number,
  { first, count, values, taps }: Weights,
  channels: number,
): Uint8Array {
  const out = new Uint8Array(rows * first.length * channels);
  let at = 0;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < first.length; x++) {
      const w = x * taps;
      const begin = y * stride + first[x]! * channels;
      for (let channel = 0; channel < channels; channel++) {
        let sum = HALF;
        for (let i = 0; i < count[x]!; i++) {
          sum += Math.imul(source[begin + i * channels + channel]!, values[w + i]!);
        }
        out[at++] = toByte(sum);
      }
    }
  }
  return out;
}

/** {@linkcode resampleRows} of three channels at once, which reads each weight once. */
function resampleRowsOfRgb(
  source: Uint8Array,
  rows: number,
  stride: number,
  { first, count, values, taps }: Weights,
): Uint8Array {
  const out = new Uint8Array(rows * first.length * 3);
  let at = 0;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < first.length; x++) {
      let p = y * stride + first[x]! * 3;
      let w = x * taps;
      let red = HALF, green = HALF, blue = HALF;
      for (const end = w + count[x]!; w < end; w++, p += 3) {
        const weight = values[w]!;
        red = (red + Math.imul(source[p]!, weight)) | 0;
        green = (green + Math.imul(source[p + 1]!, weight)) | 0;
        blue = (blue + Math.imul(source[p + 2]!, weight)) | 0;
      }
      out[at] = toByte(red);
      out[at + 1] = toByte(green);
      out[at + 2] = toByte(blue);
      at += 3;
    }
  }
  return out;
}

/** Weighs whole rows of `stride` bytes, the first of which is `from`; the sums stay in the cache. */
function resampleColumns(
  source: Uint8Array,
  from: number,
  stride: number,
  { first, count, values, taps }: Weights,
): Uint8Array {
  const out = new Uint8Array(first.length * stride);
  const sums = new Int32Array(stride);
  for (let y = 0; y < first.length; y++) {
    sums.fill(HALF);
    for (let i = 0; i < count[y]!; i++) {
      const weight = values[y * taps + i]!;
      const row = (first[y]! - from + i) * stride;
      for (let x = 0; x < stride; x++) sums[x]! += Math.imul(source[row + x]!, weight);
    }
    for (let x = 0; x < stride; x++) out[y * stride + x] = toByte(sums[x]!);
  }
  return out;
}
