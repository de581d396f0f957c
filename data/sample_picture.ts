/** Pictures of one coloured shape on a dark, noisy ground, with what there is to say about them. */

import type { Random } from "../model/random.ts";
import type { RgbPicture } from "./bmp.ts";

type Rgb = readonly [number, number, number];

/** A word in English and in Chinese. */
interface Word {
  readonly en: string;
  readonly zh: string;
}

const COLOURS: readonly (Word & { rgb: Rgb })[] = [
  { en: "red", zh: "红色", rgb: [230, 50, 45] },
  { en: "green", zh: "绿色", rgb: [60, 190, 75] },
  { en: "blue", zh: "蓝色", rgb: [60, 105, 235] },
  { en: "yellow", zh: "黄色", rgb: [232, 205, 50] },
  { en: "purple", zh: "紫色", rgb: [165, 75, 205] },
  { en: "white", zh: "白色", rgb: [235, 235, 235] },
];

/** Shapes: whether a point is inside, in coordinates of −1 to 1 with y pointing down. */
const SHAPES: readonly (Word & { holds: (x: number, y: number) => boolean })[] = [
  { en: "circle", zh: "圆形", holds: (x, y) => Math.hypot(x, y) < 1 },
  { en: "square", zh: "方块", holds: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.85 },
  { en: "triangle", zh: "三角形", holds: (x, y) => y < 0.8 && 2 * Math.abs(x) < y + 1 },
  {
    en: "ring",
    zh: "圆环",
    holds: (x, y) => Math.hypot(x, y) < 1 && Math.hypot(x, y) > 0.6,
  },
  {
    en: "cross",
    zh: "十字",
    holds: (x, y) =>
      Math.min(Math.abs(x), Math.abs(y)) < 0.3 && Math.max(Math.abs(x), Math.abs(y)) < 1,
  },
];

const SIZES: readonly (Word & { radius: number })[] = [
  { en: "small", zh: "小", radius: 0.18 },
  { en: "large", zh: "大", radius: 0.4 },
];

/** A picture and the same sentence about it in two languages. */
export interface CaptionedPicture extends Word {
  /** The pixels. */
  readonly picture: RgbPicture;
}

/**
 * Draws a picture.
 *
 * @param side Its height and width in pixels.
 */
export function drawCaptionedPicture(random: Random, side: number): CaptionedPicture {
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const [size, colour, shape] = [pick(SIZES), pick(COLOURS), pick(SHAPES)];
  const near = (middle: number, apart: number): number => middle + apart * (random.float() - 0.5);
  const [centreX, centreY, radius] = [
    near(0.5, 0.15),
    near(0.5, 0.15),
    near(size.radius, 0.06),
  ];
  const data = new Uint8Array(side * side * 3);
  for (let i = 0; i < side * side; i++) {
    const x = ((i % side + 0.5) / side - centreX) / radius;
    const y = ((Math.floor(i / side) + 0.5) / side - centreY) / radius;
    const base: Rgb = shape.holds(x, y) ? colour.rgb : [20, 20, 24];
    const noise = random.below(20);
    data.set(base.map((value) => value + noise), 3 * i);
  }
  return {
    picture: { width: side, height: side, data, channels: 3 },
    en: `A ${size.en} ${colour.en} ${shape.en}.`,
    zh: `一个${size.zh}的${colour.zh}${shape.zh}。`,
  };
}
