/** The demo's first world: one shape a picture, or several copies of it. */

import type { Random } from "../model/random.ts";
import {
  COLOURS,
  DESCRIBE,
  type Dialogue,
  drawShapes,
  KINDS,
  type Language,
  type Look,
  Looks,
  NUMBERS,
  PLACES,
  type Scene,
  shuffled,
  SIZES,
  statement,
  type Words,
  type World,
} from "./demo_world.ts";
import type { RgbPicture } from "./bmp.ts";

/** Share of the pictures with several copies. */
const SEVERAL = 0.3;

const QUESTIONS: Readonly<Record<string, Words>> = {
  colour: { en: "What colour is it?", zh: "是什么颜色？" },
  kind: { en: "What shape is it?", zh: "是什么形状？" },
  place: { en: "Where is it?", zh: "在哪里？" },
  size: { en: "Is it small or large?", zh: "是大还是小？" },
  count: { en: "How many are there?", zh: "有几个？" },
  [DESCRIBE]: { en: "Describe the picture.", zh: "描述一下这张图。" },
};

/** What is hard is asked more often. */
const ASKED = [
  ...["colour", "kind", "kind", "kind", "place", "size", "count"],
  ...["yes/no", "yes/no", DESCRIBE, DESCRIBE],
];

/** Pictures of one shape of 5 kinds, 6 colours and 2 sizes in one of 9 places, some with 2 to 4 copies of it. */
export class WorldOfOne implements World {
  readonly kinds: readonly string[] = [...new Set(ASKED)];
  readonly #looks: Looks;

  /** The world of a seed's generator, which decides what is held out. */
  constructor(random: Random) {
    this.#looks = new Looks(random);
  }

  scene(random: Random, held: boolean): Scene {
    const look = this.#looks.draw(random, held);
    const count = random.float() < SEVERAL ? 2 + random.below(NUMBERS.length - 1) : 1;
    return new SceneOfOne(look, shuffled(PLACES.length, random).slice(0, count));
  }
}

/** A shape in one or more places. */
export class SceneOfOne implements Scene {
  readonly asked: readonly string[];
  readonly #look: Look;
  readonly #places: readonly number[];

  /** A shape of a look, once in each of the places. */
  constructor(look: Look, places: readonly number[]) {
    this.asked = ASKED.filter((kind) => kind !== "place" || places.length === 1);
    this.#look = look;
    this.#places = places;
  }

  ask(kind: string, language: Language, random: Random): Dialogue {
    if (kind === "yes/no") return this.#askWhether(language, random);
    return { question: QUESTIONS[kind]![language], answer: this.#answer(kind, language) };
  }

  draw(random: Random): RgbPicture {
    return drawShapes(this.#places.map((place) => ({ ...this.#look, place })), random);
  }

  #answer(kind: string, language: Language): string {
    const { colour, kind: shape, size } = this.#look;
    const count = NUMBERS[this.#places.length - 1]!;
    const place = PLACES[this.#places[0]!]!;
    const what = {
      en: `${SIZES[size]!.en} ${COLOURS[colour]!.en} ${KINDS[shape]!.en}`,
      zh: `${SIZES[size]!.zh}的${COLOURS[colour]!.zh}${KINDS[shape]!.zh}`,
    };
    const one = { en: `a ${what.en}, ${place.en}`, zh: `${place.zh}有一个${what.zh}` };
    const several = {
      en: `${count.en} ${what.en}${what.en.endsWith("s") ? "es" : "s"}`,
      zh: `${count.zh}个${what.zh}`,
    };
    const answers: Record<string, Words> = {
      colour: COLOURS[colour]!,
      kind: KINDS[shape]!,
      place,
      size: SIZES[size]!,
      count: { en: count.en, zh: `${count.zh}个` },
      [DESCRIBE]: this.#places.length > 1 ? several : one,
    };
    return statement(language, answers[kind]!);
  }

  /**
   * Asks whether it is of a colour and kind; half of the time one of the two is wrong. The answer says what it is first:
   * that can be seen, and then words need only be compared with words.
   */
  #askWhether(language: Language, random: Random): Dialogue {
    let { colour, kind } = this.#look;
    const [seen, is] = [COLOURS[colour]!, KINDS[kind]!];
    const right = random.below(2) === 0;
    if (!right && random.below(2) === 0) {
      colour = (colour + 1 + random.below(COLOURS.length - 1)) % COLOURS.length;
    } else if (!right) kind = (kind + 1 + random.below(KINDS.length - 1)) % KINDS.length;
    const [asked, shape] = [COLOURS[colour]!, KINDS[kind]!];
    return {
      question: language === "en"
        ? `Is it a ${asked.en} ${shape.en}?`
        : `是${asked.zh}${shape.zh}吗？`,
      answer: statement(language, {
        en: `a ${seen.en} ${is.en}, so ${right ? "yes" : "no"}`,
        zh: `${seen.zh}${is.zh}，所以${right ? "是" : "不是"}`,
      }),
    };
  }
}
