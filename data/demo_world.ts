/** What the demo's worlds are made of: words, shapes, how they are drawn, and which combinations are kept for the test. */

import type { Random } from "../model/random.ts";
import type { RgbPicture } from "./bmp.ts";

/** A language. */
export type Language = "en" | "zh";

/** The same in English and in Chinese. */
export type Words = Readonly<Record<Language, string>>;

/** A question with its answer. */
export interface Dialogue {
  /** The question. */
  readonly question: string;
  /** The one right answer. English ones begin with a space, as words within a sentence do. */
  readonly answer: string;
}

/** What is in a picture. */
export interface Scene {
  /** Kinds of questions that can be asked about it, what is asked more often as often as that. */
  readonly asked: readonly string[];
  /** A question of a kind, with its answer. */
  ask(kind: string, language: Language, random: Random): Dialogue;
  /** The picture. */
  draw(random: Random): RgbPicture;
}

/** A world of pictures, and of all there is to say about them. */
export interface World {
  /** Kinds of questions. */
  readonly kinds: readonly string[];
  /**
   * A scene.
   *
   * @param held Whether it shows a combination that was held out; all other scenes show none.
   */
  scene(random: Random, held: boolean): Scene;
}

/** The kind of question whose answer is the caption. */
export const DESCRIBE = "describe";

/** Height and width of a picture in pixels. */
export const PICTURE_SIZE = 48;

/** Colours. */
export const COLOURS: readonly (Words & { readonly rgb: readonly [number, number, number] })[] = [
  { en: "red", zh: "红色", rgb: [225, 50, 45] },
  { en: "green", zh: "绿色", rgb: [55, 185, 75] },
  { en: "blue", zh: "蓝色", rgb: [60, 105, 230] },
  { en: "yellow", zh: "黄色", rgb: [228, 205, 50] },
  { en: "purple", zh: "紫色", rgb: [165, 70, 205] },
  { en: "white", zh: "白色", rgb: [230, 230, 230] },
];

/** Kinds of shapes: whether a point is inside, in coordinates of −1 to 1 with y pointing down. */
export const KINDS: readonly (Words & { readonly holds: (x: number, y: number) => boolean })[] = [
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
export const SIZES: readonly (Words & { readonly radius: number })[] = [
  { en: "small", zh: "小", radius: 5.5 },
  { en: "large", zh: "大", radius: 7.5 },
];

/** Places, row by row. */
export const PLACES: readonly Words[] = [
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
export const NUMBERS: readonly Words[] = [
  { en: "one", zh: "一" },
  { en: "two", zh: "两" },
  { en: "three", zh: "三" },
  { en: "four", zh: "四" },
];

/** A combination of colour, kind and size: places in the lists above. */
export interface Look {
  /** Of {@linkcode COLOURS}. */
  readonly colour: number;
  /** Of {@linkcode KINDS}. */
  readonly kind: number;
  /** Of {@linkcode SIZES}. */
  readonly size: number;
}

/** A shape in its place. */
export interface Shape extends Look {
  /** Of {@linkcode PLACES}. */
  readonly place: number;
}

const HELD_OUT = 12;

/** The 60 combinations of colour, kind and size, 12 of which are held out for the test. */
export class Looks {
  readonly #held = new Set<string>();

  /**
   * Holds out combinations of which no two share both colour and kind, with each colour and size equally often, and
   * each kind as nearly so as can be: what is asked about them cannot be guessed from how often it is true.
   */
  constructor(random: Random) {
    const colours = shuffled(COLOURS.length, random), kinds = shuffled(KINDS.length, random);
    for (let i = 0; i < HELD_OUT; i++) {
      const round = Math.floor(i / COLOURS.length);
      const [colour, kind] = [colours[i % COLOURS.length]!, kinds[i % KINDS.length]!];
      this.#held.add(keyOf({ colour, kind, size: (i + round) % SIZES.length }));
    }
  }

  /** Whether a combination was held out. */
  isHeld(look: Look): boolean {
    return this.#held.has(keyOf(look));
  }

  /** Any combination that was held out, or that was not. */
  draw(random: Random, held: boolean): Look {
    for (;;) {
      const look = {
        colour: random.below(COLOURS.length),
        kind: random.below(KINDS.length),
        size: random.below(SIZES.length),
      };
      if (this.isHeld(look) === held) return look;
    }
  }
}

function keyOf({ colour, kind, size }: Look): string {
  return `${colour}/${kind}/${size}`;
}

/** The numbers below `count` in a random order. */
export function shuffled(count: number, random: Random): number[] {
  const numbers = Uint32Array.from({ length: count }, (_, i) => i);
  random.shuffle(numbers);
  return [...numbers];
}

/** Draws shapes on a dark, noisy ground, each somewhat off its place, size and brightness. */
export function drawShapes(shapes: readonly Shape[], random: Random): RgbPicture {
  const side = PICTURE_SIZE, cell = side / 3;
  const near = (middle: number, apart: number) => middle + apart * (2 * random.float() - 1);
  const data = new Uint8Array(side * side * 3);
  for (let i = 0; i < data.length; i++) data[i] = 15 + random.below(25);
  for (const { colour, kind, size, place } of shapes) {
    const { rgb } = COLOURS[colour]!, { holds } = KINDS[kind]!;
    const radius = near(SIZES[size]!.radius, 0.4);
    const free = Math.max(0.5, cell / 2 - radius);
    const centreX = near((place % 3 + 0.5) * cell, free);
    const centreY = near((Math.floor(place / 3) + 0.5) * cell, free);
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

/** A statement as an answer: English ones begin with a space and end with a full stop. */
export function statement(language: Language, { en, zh }: Words): string {
  return language === "en" ? ` ${en}.` : `${zh}。`;
}
