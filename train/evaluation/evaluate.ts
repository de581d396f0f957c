import type { VlmDataset } from "../../data/dataset.ts";
import { DataError } from "../../kernels/runtime/errors.ts";
import type { Tensor } from "../../kernels/runtime/tensor.ts";
import { joined, type Sample } from "../../model/batch.ts";
import type { ChatModel } from "../../model/chat_model.ts";
import { Decoder } from "../../model/decoder.ts";
import { encodePrompt, type Prompt } from "../../model/prompt.ts";
import { Random } from "../../model/random.ts";
import { choiceLikelihoods, pictureRows, type SampleLoss, sampleLosses } from "./scoring.ts";

/** What is measured, and how. */
export interface EvaluationOptions {
  /** Rows of the data set. */
  readonly rows: readonly number[];
  /** Rows whose losses are computed at once. */
  readonly batchSize: number;
  /** Whether the model answers the questions in its own words. */
  readonly generate: boolean;
  /** Tokens of an answer at most. */
  readonly maxNewTokens: number;
  /** Whether all is measured once more with the pictures exchanged. */
  readonly blind: boolean;
  /** Hears of rows that cannot be used. */
  readonly onSkip?: (error: DataError) => void;
  /** Hears how far it is. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What a row showed of a model. */
export interface ItemResult {
  /** The row, from 0. */
  readonly index: number;
  /** The question's number in the data, where it has one. */
  readonly id?: string;
  /** The first question. */
  readonly question: string;
  /** What is right to say. */
  readonly answers: readonly string[];
  /** Which kind of question it is, where the data say so. */
  readonly category?: string;
  /** The loss of all answers of the conversation. */
  readonly loss: SampleLoss;
  /** The same loss without the right pictures. */
  readonly blindLoss?: SampleLoss;
  /** What the model said, or chose. */
  said?: string;
  /** What there was to choose between, with the log-likelihood of each. */
  readonly choices?: Readonly<Record<string, number>>;
  /** What the model chose without the right pictures. */
  readonly blindChoice?: string;
}

interface Item {
  readonly id?: string | undefined;
  readonly sample: Sample;
  readonly question: string;
  readonly answers: readonly string[];
  readonly choices?: readonly string[] | undefined;
  readonly category?: string | undefined;
  /** The question alone; its pictures are the first ones of the sample. */
  readonly prompt: Prompt;
}

/**
 * Measures a model on rows of a data set: the loss of their answers, what it says to the first question, and where
 * there are choices, which of them it finds likeliest. Always greedy: the same rows give the same result.
 *
 * @throws {DataError} when no row can be used.
 */
export async function evaluate(
  model: ChatModel,
  dataset: VlmDataset,
  options: EvaluationOptions,
): Promise<ItemResult[]> {
  const { rows, batchSize, onProgress } = options;
  const results: ItemResult[] = [];
  let why: string | undefined;
  onProgress?.(0, rows.length);
  for (let at = 0; at < rows.length; at += batchSize) {
    const wanted = rows.slice(at, at + batchSize);
    const items: Item[] = [];
    for (const index of wanted) {
      try {
        items.push(await read(model, dataset, index));
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        why ??= error.message;
        options.onSkip?.(error);
      }
    }
    if (items.length > 0) {
      const told = (done: number) => onProgress?.(at + done, rows.length);
      results.push(...await measure(model, items, options, told));
    }
    onProgress?.(at + wanted.length, rows.length);
  }
  if (results.length === 0) {
    throw new DataError(
      `No row of the data can be used${why ? `, the first because: ${why}` : "."}`,
    );
  }
  return results;
}

async function read(
  { vlm, tokenizer, template }: ChatModel,
  dataset: VlmDataset,
  index: number,
): Promise<Item> {
  const { row } = await dataset.encode(index);
  const sample = await dataset.sample(index);
  const [question = "", answer = ""] = (row.conversations as readonly { content: string }[])
    .map(({ content }) => content);
  const last = sample.mask.lastIndexOf(1);
  if (last < 1 || sample.pictureStarts.some((start) => start > last)) {
    throw new DataError(`${dataset.place(index)}: no answer stands after the pictures.`);
  }
  const messages = [{ role: "user", content: question }];
  return {
    sample,
    id: row.id,
    question,
    answers: [answer, ...without(row.answers ?? [], answer)],
    choices: row.choices,
    category: row.category,
    prompt: encodePrompt(tokenizer, template, messages, vlm.tokensPerPicture),
  };
}

async function measure(
  model: ChatModel,
  items: readonly Item[],
  { generate, blind, maxNewTokens }: EvaluationOptions,
  told: (done: number) => void,
): Promise<ItemResult[]> {
  const { vlm } = model;
  const pictures = items.flatMap(({ sample }) => sample.pictures);
  const starts = startsOf(items);
  using features = pictures.length > 0
    ? vlm.gpu.detached(() => vlm.encodePictures(joined(pictures), pictures.length))
    : undefined;
  const others = blind ? exchange(pictures) : undefined;
  using exchanged = features && others &&
    vlm.gpu.detached(() => pictureRows(vlm, features, others));
  const losses = await losing(model, items, features);
  const blindLosses = exchanged && await losing(model, items, exchanged);
  const chosen = await choosing(model, items, features, starts);
  const blindChosen = exchanged && await choosing(model, items, exchanged, starts);
  const results = items.map(({ sample, id, question, answers, category }, i): ItemResult => {
    const choices = chosen.get(i);
    const blindChoices = blindChosen?.get(i);
    const sees = sample.pictures.length > 0;
    return {
      index: sample.index,
      ...(id !== undefined && { id }),
      question,
      answers,
      ...(category !== undefined && { category }),
      loss: losses[i]!,
      ...(blindLosses && sees && { blindLoss: blindLosses[i]! }),
      ...(choices && { choices, said: likeliest(choices) }),
      ...(blindChoices && sees && { blindChoice: likeliest(blindChoices) }),
    };
  });
  if (!generate) return results;
  for (const [i, { prompt, choices }] of items.entries()) {
    if (choices) continue;
    const count = prompt.pictureCount;
    const seen = Array.from({ length: count }, (_, p) => starts[i]! + p);
    results[i]!.said = await answer(
      model,
      prompt,
      () => features && count > 0 ? pictureRows(vlm, features, seen) : undefined,
      maxNewTokens,
    );
    told(i + 1);
  }
  return results;
}

/** A list without the first of some text; that others say the same too may count. */
function without(texts: readonly string[], text: string): readonly string[] {
  const at = texts.indexOf(text);
  return at < 0 ? texts : texts.toSpliced(at, 1);
}

function losing(model: ChatModel, items: readonly Item[], features: Tensor | undefined) {
  return sampleLosses(model.vlm, items.map(({ sample }) => sample), features);
}

/** The log-likelihood of the choices of those items that have some. */
async function choosing(
  { vlm, tokenizer }: ChatModel,
  items: readonly Item[],
  features: Tensor | undefined,
  starts: readonly number[],
): Promise<Map<number, Record<string, number>>> {
  const asked = [...items.entries()].filter(([, { choices }]) => choices);
  if (asked.length === 0) return new Map();
  const seen = asked.flatMap(([i, { prompt }]) =>
    Array.from({ length: prompt.pictureCount }, (_, p) => starts[i]! + p)
  );
  using own = features && seen.length > 0
    ? vlm.gpu.detached(() => pictureRows(vlm, features, seen))
    : undefined;
  const questions = asked.map(([, { prompt, choices = [] }]) => ({
    prompt,
    choices: choices.map((choice) => tokenizer.encode(choice, { special: false })),
  }));
  const scores = await choiceLikelihoods(vlm, questions, own);
  return new Map(asked.map(([i, { choices = [] }], q) => [
    i,
    Object.fromEntries(choices.map((choice, c) => [choice, scores[q]![c]!])),
  ]));
}

async function answer(
  { vlm, tokenizer }: ChatModel,
  prompt: Prompt,
  features: () => Tensor | undefined,
  maxNewTokens: number,
): Promise<string> {
  using decoder = new Decoder(vlm, prompt.ids.length + maxNewTokens);
  {
    using _scope = vlm.gpu.scope();
    decoder.read(prompt, features());
  }
  const ids = await Array.fromAsync(decoder.generate({
    maxNewTokens,
    temperature: 0,
    stopIds: [tokenizer.eosId],
    random: new Random(0),
  }));
  return tokenizer.decode(ids, { skipSpecialTokens: true });
}

/** For each picture the next one that is another, or nothing where all are alike. */
export function exchange(pictures: readonly Uint8Array[]): number[] | undefined {
  const isOther = (a: Uint8Array, b: Uint8Array) => a.some((byte, i) => byte !== b[i]);
  const others = pictures.map((picture, i) => {
    for (let step = 1; step < pictures.length; step++) {
      const other = (i + step) % pictures.length;
      if (isOther(picture, pictures[other]!)) return other;
    }
    return -1;
  });
  return others.length === 0 || others.includes(-1) ? undefined : others;
}

function likeliest(choices: Readonly<Record<string, number>>): string {
  return Object.entries(choices).reduce((best, one) => one[1] > best[1] ? one : best)[0];
}

function startsOf(items: readonly Item[]): number[] {
  let start = 0;
  return items.map(({ sample }) => (start += sample.pictures.length) - sample.pictures.length);
}
