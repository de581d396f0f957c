import { bleu4, bleuCounts } from "../../model/metrics/bleu.ts";
import type { Measure } from "../../model/metrics/bootstrap.ts";
import { captionTokens } from "../../model/metrics/caption_tokens.ts";
import { cider } from "../../model/metrics/cider.ts";
import { rougeL } from "../../model/metrics/rouge_l.ts";
import { vqaAccuracy, vqaAnswer } from "../../model/metrics/vqa.ts";
import type { ItemResult } from "./evaluate.ts";

/** A measure with what a reader needs to know of it. */
export interface NamedMeasure extends Measure {
  /** Its name in files. */
  readonly name: string;
  /** What it is, in a few words. */
  readonly title: string;
  /** Whether it is a share, shown in percent. */
  readonly share?: boolean;
  /** Rows that it is about. */
  readonly rows: number;
}

const ratio = ([sum = 0, count = 0]: readonly number[]): number => sum / count;

/** Everything that can be measured of what a model did; each measure has one entry for each item. */
export function measuresOf(items: readonly ItemResult[]): NamedMeasure[] {
  const all: (NamedMeasure | undefined)[] = [
    make(items, "loss", "Loss of the answers", ({ loss }) => [loss.sum, loss.tokens], ratio),
    make(
      items,
      "perplexity",
      "Perplexity",
      ({ loss }) => [loss.sum, loss.tokens],
      (sums) => Math.exp(ratio(sums)),
    ),
    make(
      items,
      "blind_loss",
      "Loss with exchanged pictures",
      ({ blindLoss }) => blindLoss && [blindLoss.sum, blindLoss.tokens],
      ratio,
    ),
    make(
      items,
      "blind_gap",
      "Gain by the right pictures",
      ({ loss, blindLoss }) => blindLoss && [blindLoss.sum - loss.sum, loss.tokens],
      ratio,
    ),
    ...choiceMeasures(items),
    ...textMeasures(items),
  ];
  return all.filter((measure) => measure !== undefined);
}

/** Which of the choices is right. */
export const rightChoice = ({ answers }: ItemResult): string => answers[0] ?? "";

function choiceMeasures(items: readonly ItemResult[]): (NamedMeasure | undefined)[] {
  const share = (
    name: string,
    title: string,
    of: (item: ItemResult) => readonly [number, number] | undefined,
  ) => make(items, name, title, (item) => item.choices && of(item), ratio, true);
  const isRight = (item: ItemResult) => Number(item.said === rightChoice(item));
  const isYesNo = ({ choices = {} }: ItemResult) => "Yes" in choices && "No" in choices;
  const yes = (item: ItemResult) => isYesNo(item) && item.said === "Yes";
  const f1 = ([right = 0, said = 0, meant = 0]: readonly number[]) => 2 * right / (said + meant);
  return [
    share("accuracy", "Right choices", (item) => [isRight(item), 1]),
    share(
      "blind_accuracy",
      "Right choices with exchanged pictures",
      (item) =>
        item.blindChoice === undefined
          ? undefined
          : [Number(item.blindChoice === rightChoice(item)), 1],
    ),
    share(
      "precision",
      "Precision of yes",
      (item) => isYesNo(item) ? [Number(yes(item)) * isRight(item), Number(yes(item))] : undefined,
    ),
    share("recall", "Recall of yes", (item) => {
      const meant = Number(rightChoice(item) === "Yes");
      return isYesNo(item) ? [meant * isRight(item), meant] : undefined;
    }),
    make(
      items,
      "f1",
      "F1 of yes",
      (item) => {
        const meant = Number(rightChoice(item) === "Yes");
        return isYesNo(item) ? [meant * isRight(item), Number(yes(item)), meant] : undefined;
      },
      f1,
      true,
    ),
    share(
      "yes_share",
      "Share of yes",
      (item) => isYesNo(item) ? [Number(yes(item)), 1] : undefined,
    ),
    ...categoriesOf(items.filter(({ choices }) => choices)).map((category) =>
      share(
        `accuracy: ${category}`,
        `Right choices: ${category}`,
        (item) => item.category === category ? [isRight(item), 1] : undefined,
      )
    ),
  ];
}

function categoriesOf(items: readonly ItemResult[]): string[] {
  return [...new Set(items.flatMap(({ category }) => category ?? []))];
}

function textMeasures(items: readonly ItemResult[]): (NamedMeasure | undefined)[] {
  const answered = items.filter(({ said, choices }) => said !== undefined && !choices);
  const tokens = new Map(answered.map((item) => [item, {
    caption: captionTokens(item.said ?? ""),
    references: item.answers.map(captionTokens),
  }]));
  const ciders = cider([...tokens.values()]);
  const ciderOf = new Map([...tokens.keys()].map((item, i) => [item, ciders[i]!]));
  const vqa = ({ said = "", answers }: ItemResult) => vqaAccuracy(said, answers);
  const mean = (
    name: string,
    title: string,
    of: (item: ItemResult) => number,
    share = true,
  ) =>
    make(items, name, title, (item) => tokens.has(item) ? [of(item), 1] : undefined, ratio, share);
  return [
    make(
      items,
      "bleu_4",
      "BLEU-4",
      (item) => {
        const one = tokens.get(item);
        return one && bleuCounts(one.caption, one.references);
      },
      bleu4,
      true,
    ),
    mean("rouge_l", "ROUGE-L", (item) => {
      const { caption, references } = tokens.get(item)!;
      return rougeL(caption, references);
    }),
    mean("cider", "CIDEr", (item) => ciderOf.get(item)!, false),
    mean(
      "exact_match",
      "Exact match",
      ({ said = "", answers }) =>
        Number(answers.some((answer) => vqaAnswer(answer) === vqaAnswer(said))),
    ),
    mean("vqa_accuracy", "VQA accuracy", vqa),
    ...categoriesOf(answered).map((category) =>
      make(
        items,
        `vqa_accuracy: ${category}`,
        `VQA accuracy: ${category}`,
        (item) => tokens.has(item) && item.category === category ? [vqa(item), 1] : undefined,
        ratio,
        true,
      )
    ),
  ];
}

/** A measure of the items for which there are parts; nothing where there is none. */
function make(
  items: readonly ItemResult[],
  name: string,
  title: string,
  partsOf: (item: ItemResult) => readonly number[] | undefined,
  of: (sums: readonly number[]) => number,
  share = false,
): NamedMeasure | undefined {
  const parts = items.map(partsOf);
  const width = parts.find((one) => one)?.length;
  if (width === undefined) return undefined;
  const nothing = new Array<number>(width).fill(0);
  return {
    name,
    title,
    share,
    rows: parts.filter((one) => one).length,
    parts: parts.map((one) => one ?? nothing),
    of,
  };
}
