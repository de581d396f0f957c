/** Rows of a question and its answer, as benchmarks have them, as conversations. */

import { DataError } from "../kernels/runtime/errors.ts";
import { isRecord } from "../model/strict_json.ts";

/** The turns of a conversation, and what is known of their answers. */
export interface Conversation {
  /** The turns, not checked. */
  readonly conversations: unknown;
  /** What else would be right to say to the first question. */
  readonly answers?: readonly string[];
  /** Between which answers to the first question there is to choose; the right one is in the conversation. */
  readonly choices?: readonly string[];
  /** Which kind of question it is. */
  readonly category?: string;
  /** The question's number, where the data number them. */
  readonly id?: string;
}

/** How models are asked for a letter, as LLaVA and most after it ask. */
const LETTER_HINT = "Answer with the option's letter from the given choices directly.";

/**
 * Makes a conversation of a question:
 *
 * - `{question, answer: "B"}` with lettered options in the question (MMStar), or with `choices` or
 *   `options` beside it and the right one's letter, number from 0 or text as `answer`: the letters are
 *   the choices;
 * - `{text, label: "yes"}` or `{question, answer: "no"}` (POPE): yes and no are the choices;
 * - `{question, answer}` or `{question, answers: […]}` (VQA): free text; the first answer is the one
 *   that most people gave.
 *
 * @param pictures How many pictures the row has.
 * @returns Nothing where the row has no question.
 * @throws {DataError} where the answer is missing or none of the choices.
 */
export function readQuestion(
  row: Readonly<Record<string, unknown>>,
  pictures: number,
): Conversation | undefined {
  const question = text(row.question) ?? (row.label === undefined ? undefined : text(row.text));
  if (question === undefined) return undefined;
  const answers = textsOf(row.answers) ?? textsOf(row.captions);
  const answer = text(row.answer) ?? text(row.label) ?? (answers && mostFrequent(answers));
  if (answer === undefined) throw new DataError("the question has no answer.");
  const category = text(row.category);
  const id = text(row.question_id);
  const make = (asked: string, right: string, more: Partial<Conversation> = {}) => ({
    conversations: [
      { role: "user", content: asked.includes("<image>") ? asked : places(pictures) + asked },
      { role: "assistant", content: right },
    ],
    ...more,
    ...(category !== undefined && { category }),
    ...(id !== undefined && { id }),
  });
  if (answers) return make(question, answer, { answers });
  const options = textsOf(row.choices) ?? textsOf(row.options);
  if (options) return lettered(question, options, answer, make);
  const letters = lettersIn(question);
  if (letters.length > 1 && letters.includes(answer.trim())) {
    return make(`${question}\n${LETTER_HINT}`, answer.trim(), { choices: letters });
  }
  if (/^(yes|no)$/i.test(answer.trim())) {
    const right = answer.trim().toLowerCase() === "yes" ? "Yes" : "No";
    return make(question, right, { choices: ["Yes", "No"] });
  }
  return make(question, answer);
}

function lettered<T>(
  question: string,
  options: readonly string[],
  answer: string,
  make: (asked: string, right: string, more: Partial<Conversation>) => T,
): T {
  const letters = options.map((_, i) => String.fromCharCode(65 + i));
  const right = [letters.indexOf(answer.trim()), options.indexOf(answer), Number(answer)]
    .find((at) => letters[at] !== undefined);
  if (right === undefined) {
    throw new DataError(
      `the answer ${JSON.stringify(answer)} is none of the ${options.length} choices.`,
    );
  }
  const listed = options.map((option, i) => `${letters[i]}. ${option}`).join("\n");
  return make(`${question}\n${listed}\n${LETTER_HINT}`, letters[right]!, { choices: letters });
}

/** The letters of options that a text lists one after the other: `A: …, B: …`, `(A) …` or `A. …`. */
function lettersIn(question: string): string[] {
  const letters: string[] = [];
  let at = 0;
  for (let code = 65; code <= 90; code++) {
    const letter = String.fromCharCode(code);
    const found = new RegExp(`(^|[\\s,(;])${letter}\\s*[:.)]`).exec(question.slice(at));
    if (!found) break;
    at += found.index + found[0].length;
    letters.push(letter);
  }
  return letters;
}

const places = (pictures: number): string => "<image>\n".repeat(pictures);

function text(value: unknown): string | undefined {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  return typeof value === "string" && value.trim() !== "" ? value : undefined;
}

/** Texts, or VQA's `{"answer": text}`. */
function textsOf(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const texts = value.map((one) => text(isRecord(one) ? one.answer : one));
  return texts.every((one) => one !== undefined) ? texts : undefined;
}

function mostFrequent(answers: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const answer of answers) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return [...counts].reduce((best, one) => one[1] > best[1] ? one : best)[0];
}
