/** A small world: pictures of one shape, or of several copies of it, and all there is to know about them. */

import { Random } from "../model/random.ts";
import type { RgbPicture } from "./bmp.ts";

type Rgb = readonly [number, number, number];

/** A word in English and in Chinese. */
export interface Word {
  /** In English. */
  readonly en: string;
  /** In Chinese. */
  readonly zh: string;
}

/** Height and width of a picture in pixels. */
export const PICTURE_SIZE = 48;

/** Colours. */
export const COLOURS: readonly (Word & { readonly rgb: Rgb })[] = [
  { en: "red", zh: "红色", rgb: [225, 50, 45] },
  { en: "green", zh: "绿色", rgb: [55, 185, 75] },
  { en: "blue", zh: "蓝色", rgb: [60, 105, 230] },
  { en: "yellow", zh: "黄色", rgb: [228, 205, 50] },
  { en: "purple", zh: "紫色", rgb: [165, 70, 205] },
  { en: "white", zh: "白色", rgb: [230, 230, 230] },
];

/** Kinds of shapes: whether a point is inside, in coordinates of −1 to 1 with y pointing down. */
export const KINDS: readonly (Word & { readonly holds: (x: number, y: number) => boolean })[] = [
  { en: "circle", zh: "圆形", holds: (x, y) => Math.hypot(x, y) < 1 },
  { en: "square", zh: "方块", holds: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.88 },
  { en: "triangle", zh: "三角形", holds: (x, y) => y < 0.9 && 2 * Math.abs(x) < y + 1.1 },
  {
    en: "ring",
    zh: "圆环",
    holds: (x, y) => Math.hypot(x, y) < 1 && Math.hypot(x, y) > 0.55,
  },
  {
    en: "cross",
    zh: "十字",
    holds: (x, y) =>
      Math.min(Math.abs(x), Math.abs(y)) < 0.32 && Math.max(Math.abs(x), Math.abs(y)) < 1,
  },
];

/** Sizes; the radius is in pixels. */
export const SIZES: readonly (Word & { readonly radius: number })[] = [
  { en: "small", zh: "小", radius: 5 },
  { en: "large", zh: "大", radius: 7.5 },
];

/** Places, row by row. */
export const PLACES: readonly Word[] = [
  { en: "top left", zh: "左上" },
  { en: "top centre", zh: "正上" },
  { en: "top right", zh: "右上" },
  { en: "middle left", zh: "左边" },
  { en: "middle centre", zh: "中间" },
  { en: "middle right", zh: "右边" },
  { en: "bottom left", zh: "左下" },
  { en: "bottom centre", zh: "正下" },
  { en: "bottom right", zh: "右下" },
];

/** Numbers, from one. */
export const NUMBERS: readonly Word[] = [
  { en: "one", zh: "一" },
  { en: "two", zh: "两" },
  { en: "three", zh: "三" },
  { en: "four", zh: "四" },
];

/** What there is in a picture; the numbers are places in the lists above. */
export interface Scene {
  /** Of {@linkcode COLOURS}. */
  readonly colour: number;
  /** Of {@linkcode KINDS}. */
  readonly kind: number;
  /** Of {@linkcode SIZES}. */
  readonly size: number;
  /** Of {@linkcode PLACES}, one a copy. */
  readonly places: readonly number[];
}

/** Share of the pictures with several copies. */
const SEVERAL = 0.3;
/** Combinations of colour, kind and size that are not trained with, of 60. */
const HELD_OUT = 12;

/** The scenes of a seed: those to learn from, and those with combinations that are never learnt. */
export class World {
  readonly #random: Random;
  readonly #held: ReadonlySet<number>;

  /** The world of a seed. */
  constructor(seed: number) {
    this.#random = new Random(seed);
    const all = Uint32Array.from({ length: COMBINATIONS }, (_, i) => i);
    this.#random.fork("held out").shuffle(all);
    this.#held = new Set(all.slice(0, HELD_OUT));
  }

  /** The scene of a name, always the same; of a combination held out, or of one that is not. */
  scene(name: string, held: boolean): Scene {
    const random = this.#random.fork(`scene ${name}`);
    for (;;) {
      const combination = random.below(COMBINATIONS);
      if (this.#held.has(combination) !== held) continue;
      const places = Uint32Array.from({ length: PLACES.length }, (_, i) => i);
      random.shuffle(places);
      const count = random.float() < SEVERAL ? 2 + random.below(NUMBERS.length - 1) : 1;
      return {
        colour: combination % COLOURS.length,
        kind: Math.floor(combination / COLOURS.length) % KINDS.length,
        size: Math.floor(combination / COLOURS.length / KINDS.length),
        places: [...places.slice(0, count)],
      };
    }
  }

  /** The picture of a scene, with some chance in it that depends on the name. */
  draw(name: string, scene: Scene): RgbPicture {
    return drawScene(scene, this.#random.fork(`picture ${name}`));
  }
}

const COMBINATIONS = COLOURS.length * KINDS.length * SIZES.length;

function drawScene({ colour, kind, size, places }: Scene, random: Random): RgbPicture {
  const side = PICTURE_SIZE, cell = side / 3;
  const near = (middle: number, apart: number) => middle + apart * (2 * random.float() - 1);
  const data = new Uint8Array(side * side * 3);
  for (let i = 0; i < data.length; i++) data[i] = 15 + random.below(25);
  const { rgb } = COLOURS[colour]!, { holds } = KINDS[kind]!;
  for (const place of places) {
    const radius = near(SIZES[size]!.radius, 0.4);
    const free = cell / 2 - radius;
    const centreX = near((place % 3 + 0.5) * cell, Math.max(0.5, free));
    const centreY = near((Math.floor(place / 3) + 0.5) * cell, Math.max(0.5, free));
    const bright = near(0.95, 0.08);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        if (!holds((x + 0.5 - centreX) / radius, (y + 0.5 - centreY) / radius)) continue;
        const at = 3 * (y * side + x);
        rgb.forEach((value, c) => data[at + c] = Math.min(255, value * bright + random.below(20)));
      }
    }
  }
  return { width: side, height: side, data, channels: 3 };
}
