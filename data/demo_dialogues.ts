/** What there is to say about the pictures of the small world, in English and Chinese. */

import type { Random } from "../model/random.ts";
import { COLOURS, KINDS, NUMBERS, PLACES, type Scene, SIZES } from "./demo_world.ts";

/** What can be asked. */
export const QUESTION_KINDS = [
  "colour",
  "kind",
  "place",
  "size",
  "count",
  "yes/no",
  "describe",
] as const;

/** A kind of question. */
export type QuestionKind = typeof QUESTION_KINDS[number];

/** A language. */
export type Language = "en" | "zh";

/** A question with its answer. */
export interface Dialogue {
  /** What it asks for. */
  readonly kind: QuestionKind;
  /** The question. */
  readonly question: string;
  /** The one right answer. English ones begin with a space, as words within a sentence do. */
  readonly answer: string;
}

const QUESTIONS: Readonly<
  Record<Exclude<QuestionKind, "yes/no">, Readonly<Record<Language, string>>>
> = {
  colour: { en: "What colour is it?", zh: "是什么颜色？" },
  kind: { en: "What shape is it?", zh: "是什么形状？" },
  place: { en: "Where is it?", zh: "在哪里？" },
  size: { en: "Is it small or large?", zh: "是大还是小？" },
  count: { en: "How many are there?", zh: "有几个？" },
  describe: { en: "Describe the picture.", zh: "描述一下这张图。" },
};

/** What is to be said of a picture as a whole. */
export function caption({ colour, kind, size, places }: Scene, language: Language): string {
  const at = { colour: COLOURS[colour]!, kind: KINDS[kind]!, size: SIZES[size]! };
  const place = PLACES[places[0]!]!, count = NUMBERS[places.length - 1]!;
  if (language === "zh") {
    const what = `${at.size.zh}的${at.colour.zh}${at.kind.zh}`;
    return places.length > 1 ? `${count.zh}个${what}。` : `${place.zh}有一个${what}。`;
  }
  const what = `${at.size.en} ${at.colour.en} ${at.kind.en}`;
  return places.length > 1
    ? ` ${count.en} ${what}${at.kind.en.endsWith("s") ? "es" : "s"}.`
    : ` a ${what}, ${place.en}.`;
}

/** Asks something of a kind; the place only of pictures with one shape. */
export function ask(
  kind: QuestionKind,
  scene: Scene,
  language: Language,
  random: Random,
): Dialogue {
  if (kind === "yes/no") return askWhether(scene, language, random);
  const question = QUESTIONS[kind][language];
  const one = { colour: COLOURS[scene.colour]!, kind: KINDS[scene.kind]! };
  const said = (en: string, zh: string) => language === "en" ? ` ${en}.` : `${zh}。`;
  const count = NUMBERS[scene.places.length - 1]!;
  const answers: Record<typeof kind, () => string> = {
    colour: () => said(one.colour.en, one.colour.zh),
    kind: () => said(one.kind.en, one.kind.zh),
    place: () => said(PLACES[scene.places[0]!]!.en, PLACES[scene.places[0]!]!.zh),
    size: () => said(SIZES[scene.size]!.en, SIZES[scene.size]!.zh),
    count: () => said(count.en, `${count.zh}个`),
    describe: () => caption(scene, language),
  };
  return { kind, question, answer: answers[kind]() };
}

/** Asks whether it is of a colour and kind; half of the time one of the two is wrong. */
function askWhether(scene: Scene, language: Language, random: Random): Dialogue {
  let { colour, kind } = scene;
  const right = random.below(2) === 0;
  if (!right && random.below(2) === 0) {
    colour = (colour + 1 + random.below(COLOURS.length - 1)) % COLOURS.length;
  } else if (!right) kind = (kind + 1 + random.below(KINDS.length - 1)) % KINDS.length;
  const [asked, shape] = [COLOURS[colour]!, KINDS[kind]!];
  return {
    kind: "yes/no",
    question: language === "en"
      ? `Is it a ${asked.en} ${shape.en}?`
      : `是${asked.zh}${shape.zh}吗？`,
    answer: language === "en" ? (right ? " yes." : " no.") : (right ? "是。" : "不是。"),
  };
}

/** Kinds of questions in dialogues; what is hard is asked more often. */
const ASKED: readonly QuestionKind[] = [
  "colour",
  "kind",
  "kind",
  "kind",
  "place",
  "size",
  "count",
  "yes/no",
  "describe",
  "describe",
];

/** Questions of different kinds about a scene. */
export function dialogues(
  scene: Scene,
  language: Language,
  count: number,
  random: Random,
): Dialogue[] {
  const kinds = new Set<QuestionKind>();
  while (kinds.size < count) {
    const kind = ASKED[random.below(ASKED.length)]!;
    if (kind !== "place" || scene.places.length === 1) kinds.add(kind);
  }
  return [...kinds].map((kind) => ask(kind, scene, language, random));
}
