/** Pictures to the pixels that CLIP looks at, as transformers' `CLIPImageProcessor` makes them. */

import { FormatError, ShapeError } from "../kernels/runtime/errors.ts";
import type { Rgb } from "../kernels/patches.ts";
import { type Filter, type Image, resample } from "./resample.ts";

type Json = Record<string, unknown>;

/** Pillow's numbers for its filters. */
const FILTERS: ReadonlyMap<unknown, Filter> = new Map([
  [1, "lanczos"],
  [2, "bilinear"],
  [3, "bicubic"],
]);

/** The statistics of the pictures that OpenAI trained CLIP on, and the sizes of its ViT-B/16. */
const CLIP_DEFAULTS = {
  do_resize: true,
  size: { shortest_edge: 224 },
  resample: 3,
  do_center_crop: true,
  crop_size: 224,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
};

/** The `preprocessor_config.json` of a CLIP whose pictures have `size` pixels a side. */
export function clipPreprocessor(size: number): Record<string, unknown> {
  return {
    image_processor_type: "CLIPImageProcessor",
    ...CLIP_DEFAULTS,
    size: { shortest_edge: size },
    crop_size: { height: size, width: size },
    do_convert_rgb: true,
  };
}

/**
 * Resizes and crops pictures to [3, size, size] bytes. The rest, `(byte·scale − mean) / std`, is
 * left to the device.
 *
 * @example
 * ```ts
 * import { ImageProcessor } from "@glimpse/vlm";
 *
 * const processor = new ImageProcessor();
 * const grey = { data: new Uint8Array(30 * 20 * 3).fill(128), width: 30, height: 20, channels: 3 };
 * processor.process(grey); // 3 × 224 × 224 bytes
 * ```
 */
export class ImageProcessor {
  /** The height and width of what {@linkcode ImageProcessor.process} gives, in pixels. */
  readonly size: number;
  /** Subtracted from each channel, after `scale`. */
  readonly mean: Rgb;
  /** Each channel is divided by it, after `mean`. */
  readonly std: Rgb;
  /** What a byte is multiplied by first: 1/255. */
  readonly scale: number;
  readonly #resize: ((image: Image) => [width: number, height: number]) | undefined;
  readonly #filter: Filter;

  /**
   * Reads a parsed `preprocessor_config.json`.
   *
   * @param config the file; the processor of CLIP ViT-B/16 if left out
   * @throws FormatError where the file is malformed or asks for what is not supported
   */
  constructor(config: unknown = {}) {
    if (typeof config !== "object" || config === null || Array.isArray(config)) {
      throw refusal("the file", config);
    }
    const fields: Json = { ...CLIP_DEFAULTS, ...config };
    const flag = (key: string): boolean => {
      const value = fields[key];
      if (typeof value !== "boolean") throw refusal(key, value);
      return value;
    };
    const filter = FILTERS.get(fields.resample);
    if (filter === undefined) throw refusal("resample", fields.resample);
    this.#filter = filter;
    const fixed = flag("do_resize") ? edges(fields.size, "size") : undefined;
    this.#resize = fixed && (fixed.length === 2 ? () => fixed : shortestEdge(fixed[0]));
    const crop = flag("do_center_crop");
    const [width, height = width] = crop
      ? edges(fields.crop_size, "crop_size")
      : fixed?.length === 2
      ? fixed
      : [];
    if (width === undefined || width !== height) {
      const key = crop ? "crop_size" : "do_center_crop";
      throw refusal(key, fields[key], "the pictures must come out square and of one size");
    }
    this.size = width;
    this.scale = flag("do_rescale") ? number(fields.rescale_factor, "rescale_factor") : 1;
    this.mean = flag("do_normalize") ? rgb(fields.image_mean, "image_mean") : [0, 0, 0];
    this.std = flag("do_normalize") ? rgb(fields.image_std, "image_std") : [1, 1, 1];
    if (this.std.includes(0)) throw refusal("image_std", fields.image_std);
  }

  /**
   * The pixels of a picture: resized, the centre cut out, black where the picture does not reach.
   *
   * @param image RGB, [height, width, 3]
   * @returns [3, size, size]
   * @throws ShapeError where the image is not RGB or its sizes and bytes disagree
   */
  process(image: Image): Uint8Array {
    if (image.channels !== 3) {
      throw new ShapeError(`A picture must have 3 channels, not ${image.channels}.`);
    }
    const [width, height] = this.#resize?.(image) ?? [image.width, image.height];
    const { size } = this;
    const left = Math.floor((width - size) / 2);
    const top = Math.floor((height - size) / 2);
    const box = {
      left: Math.max(0, left),
      top: Math.max(0, top),
      width: Math.min(width, size),
      height: Math.min(height, size),
    };
    const pixels = resample(image, width, height, this.#filter, box);
    const planes = new Uint8Array(3 * size * size);
    let from = 0;
    for (let y = 0; y < box.height; y++) {
      let to = (box.top - top + y) * size + box.left - left;
      for (let x = 0; x < box.width; x++, to++, from += 3) {
        planes[to] = pixels[from]!;
        planes[to + size * size] = pixels[from + 1]!;
        planes[to + 2 * size * size] = pixels[from + 2]!;
      }
    }
    return planes;
  }
}

/** The size at which the shorter edge is `edge`, the longer one rounded down. */
function shortestEdge(edge: number): (image: Image) => [width: number, height: number] {
  return ({ width, height }) =>
    width <= height
      ? [edge, Math.trunc(edge * height / width)]
      : [Math.trunc(edge * width / height), edge];
}

/** A size in the file: one edge as a number or `shortest_edge`, or width and height. */
function edges(value: unknown, key: string): [edge: number] | [width: number, height: number] {
  const fields = typeof value === "object" && value !== null ? value as Json : {};
  const whole = (x: unknown): x is number =>
    Number.isInteger(x) && 0 < Number(x) && Number(x) <= 8192;
  if (whole(value)) return [value];
  const { shortest_edge: edge, width, height, ...others } = fields;
  if (Object.keys(others).length > 0) throw refusal(key, value);
  if (whole(edge) && width === undefined && height === undefined) return [edge];
  if (edge === undefined && whole(width) && whole(height)) return [width, height];
  throw refusal(key, value);
}

function rgb(value: unknown, key: string): Rgb {
  if (!Array.isArray(value) || value.length !== 3) throw refusal(key, value);
  return [number(value[0], key), number(value[1], key), number(value[2], key)];
}

function number(value: unknown, key: string): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw refusal(key, value);
}

function refusal(key: string, value: unknown, why = "that is not supported"): FormatError {
  return new FormatError(`preprocessor_config.json: ${key} is ${JSON.stringify(value)}; ${why}.`);
}
