/** The demo's second world: several different shapes a picture, and questions that must find one of them first. */

import type { Random } from "../model/random.ts";
import type { RgbPicture } from "./bmp.ts";
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
  type Shape,
  shuffled,
  SIZES,
  statement,
  type Words,
  type World,
} from "./demo_world.ts";

/** Kinds of questions about one shape: the question, and what is said of it after its place. */
const ABOUT_ONE: Readonly<
  Record<string, { question: (shape: Shape) => Words; said: (shape: Shape) => Words }>
> = {
  colour: {
    question: ({ kind }) => ({
      en: `What colour is the ${KINDS[kind]!.en}?`,
      zh: `${KINDS[kind]!.zh}是什么颜色？`,
    }),
    said: ({ colour }) => COLOURS[colour]!,
  },
  kind: {
    question: ({ colour }) => ({
      en: `What shape is the ${COLOURS[colour]!.en} one?`,
      zh: `${COLOURS[colour]!.zh}的是什么形状？`,
    }),
    said: ({ kind }) => KINDS[kind]!,
  },
  size: {
    question: ({ kind }) => ({
      en: `Is the ${KINDS[kind]!.en} small or large?`,
      zh: `${KINDS[kind]!.zh}是大还是小？`,
    }),
    said: ({ size }) => SIZES[size]!,
  },
};

/** A relation between two places: the axis on which they are compared, and on which side the first must be. */
const RELATIONS: readonly (Words & { readonly along: "x" | "y"; readonly before: boolean })[] = [
  { en: "left of", zh: "左边", along: "x", before: true },
  { en: "right of", zh: "右边", along: "x", before: false },
  { en: "above", zh: "上面", along: "y", before: true },
  { en: "below", zh: "下面", along: "y", before: false },
];

const ASKED = [
  ...["colour", "kind", "size", "place", "place", "at", "count"],
  ...["relation", "relation", DESCRIBE, DESCRIBE],
];

/** Pictures of 1 to 4 shapes, of which no two are of one kind or one colour. */
export class WorldOfScenes implements World {
  readonly kinds: readonly string[] = [...new Set(ASKED)];
  readonly #looks: Looks;

  /** The world of a seed's generator, which decides what is held out. */
  constructor(random: Random) {
    this.#looks = new Looks(random);
  }

  scene(random: Random, held: boolean): Scene {
    const places = shuffled(PLACES.length, random);
    const looks = [this.#looks.draw(random, held)];
    const count = 1 + random.below(NUMBERS.length);
    while (looks.length < count) {
      const next = this.#looks.draw(random, false);
      const differs = ({ colour, kind }: Look) => colour !== next.colour && kind !== next.kind;
      if (looks.every(differs)) looks.push(next);
    }
    const shapes = looks.map((look, i) => ({ ...look, place: places[i]! }));
    return new SceneOfSeveral(shapes, held ? shapes[0] : undefined);
  }
}

/** Several shapes. */
export class SceneOfSeveral implements Scene {
  readonly asked: readonly string[];
  readonly #shapes: readonly Shape[];
  readonly #about: Shape | undefined;

  /**
   * A scene of shapes of different kinds and colours in different places.
   *
   * @param about The shape that is asked about; any of them unless given.
   */
  constructor(shapes: readonly Shape[], about?: Shape) {
    this.asked = ASKED.filter((kind) => kind !== "relation" || shapes.length > 1);
    this.#shapes = shapes;
    this.#about = about;
  }

  ask(kind: string, language: Language, random: Random): Dialogue {
    const shape = this.#about ?? this.#shapes[random.below(this.#shapes.length)]!;
    const place = PLACES[shape.place]!, what = KINDS[shape.kind]!;
    const dialogue = (question: Words, answer: Words): Dialogue => ({
      question: question[language],
      answer: statement(language, answer),
    });
    const about = ABOUT_ONE[kind];
    if (about) {
      const said = about.said(shape);
      return dialogue(about.question(shape), {
        en: `${place.en}, ${said.en}`,
        zh: `${place.zh}，${said.zh}`,
      });
    }
    switch (kind) {
      case "place":
        return dialogue({ en: `Where is the ${what.en}?`, zh: `${what.zh}在哪里？` }, place);
      case "at":
        return dialogue(
          { en: `What is ${place.en}?`, zh: `${place.zh}有什么？` },
          described(shape),
        );
      case "count": {
        const { en, zh } = NUMBERS[this.#shapes.length - 1]!;
        return dialogue({ en: "How many are there?", zh: "有几个？" }, { en, zh: `${zh}个` });
      }
      case "relation": {
        const [question, answer] = this.#relation(shape, random);
        return dialogue(question, answer);
      }
      default:
        return dialogue({ en: "Describe the picture.", zh: "描述一下这张图。" }, this.#caption());
    }
  }

  draw(random: Random): RgbPicture {
    return drawShapes(this.#shapes, random);
  }

  /** All shapes with their places, in the order of these. */
  #caption(): Words {
    const shapes = this.#shapes.toSorted((a, b) => a.place - b.place);
    const join = (language: Language, parts: readonly string[]) =>
      parts.join(language === "en" ? "; " : "；");
    return {
      en: join("en", shapes.map((s) => `${PLACES[s.place]!.en}, ${described(s).en}`)),
      zh: join("zh", shapes.map((s) => `${PLACES[s.place]!.zh}，${described(s).zh}`)),
    };
  }

  /** Asks how a shape stands to another one; each answer is right half of the time, and names both places first. */
  #relation(one: Shape, random: Random): readonly [question: Words, answer: Words] {
    const others = this.#shapes.filter((shape) => shape !== one);
    const other = others[random.below(others.length)]!;
    const [from, to] = [coordinates(one), coordinates(other)];
    const fit = RELATIONS.filter(({ along }) => from[along] !== to[along]);
    const relation = fit[random.below(fit.length)]!;
    const holds = from[relation.along] < to[relation.along] === relation.before;
    const [a, b] = [KINDS[one.kind]!, KINDS[other.kind]!];
    const [here, there] = [PLACES[one.place]!, PLACES[other.place]!];
    return [
      {
        en: `Is the ${a.en} ${relation.en} the ${b.en}?`,
        zh: `${a.zh}在${b.zh}的${relation.zh}吗？`,
      },
      {
        en: `${here.en}, ${there.en}, so ${holds ? "yes" : "no"}`,
        zh: `${here.zh}，${there.zh}，所以${holds ? "是" : "不是"}`,
      },
    ];
  }
}

function described({ colour, kind, size }: Look): Words {
  return {
    en: `a ${SIZES[size]!.en} ${COLOURS[colour]!.en} ${KINDS[kind]!.en}`,
    zh: `${SIZES[size]!.zh}的${COLOURS[colour]!.zh}${KINDS[kind]!.zh}`,
  };
}

function coordinates({ place }: Shape): { readonly x: number; readonly y: number } {
  return { x: place % 3, y: Math.floor(place / 3) };
}
