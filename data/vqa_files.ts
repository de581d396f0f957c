/** VQA's own files: one of questions and one of what ten people answered. */

import { basename, dirname, join } from "@std/path";
import { DataError } from "../kernels/runtime/errors.ts";
import { isRecord } from "../model/strict_json.ts";
import { checkRow } from "./data_file.ts";
import type { RowIndex, RowSource } from "./row_source.ts";

/** How models are asked for an answer that can be compared, as LLaVA and most after it ask. */
const SHORT_HINT = "Answer the question using a single word or phrase.";

/** Whether a file is named as VQA's questions are: `v2_OpenEnded_mscoco_val2014_questions.json`. */
export function isVqaQuestions(path: string): boolean {
  return /(^|_)questions\.json$/.test(basename(path));
}

/**
 * Opens VQA's questions with the annotations beside them, or in a folder `Annotations` beside theirs:
 * `v2_mscoco_val2014_annotations.json` for `v2_OpenEnded_mscoco_val2014_questions.json`. A row has the picture's name as COCO
 * has it, the question, the answers of all people, the kind of answer as its category, and its number.
 *
 * @throws {DataError} where a file cannot be read, is not of this format, or a question has no annotation.
 */
export function openVqa(path: string): RowSource {
  const questions = readList(path, "questions");
  const annotations = readList(annotationsOf(path), "annotations");
  const byId = new Map(annotations.list.map((one) => [one.question_id, one]));
  const kind = annotations.data_type === "mscoco" ? "COCO" : String(annotations.data_type);
  const ending = kind === "COCO" ? "jpg" : "png";
  const place = (index: number): string => `${path}, question ${index + 1}`;
  return {
    path,
    length: questions.list.length,
    index: new Float64Array(new SharedArrayBuffer(0)) as RowIndex,
    bytes: (index) => String(questions.list[index]?.question).length,
    place,
    row(index) {
      checkRow(path, index, questions.list.length);
      const { question, question_id, image_id } = questions.list[index]!;
      const annotation = byId.get(question_id);
      if (!annotation) {
        throw new DataError(`${place(index)}: ${annotations.path} does not answer ${question_id}.`);
      }
      const number = String(image_id).padStart(12, "0");
      return {
        image: `${kind}_${annotations.data_subtype}_${number}.${ending}`,
        question: `${question}\n${SHORT_HINT}`,
        answers: annotation.answers,
        category: annotation.answer_type,
        question_id,
      };
    },
    [Symbol.dispose]() {},
  };
}

function annotationsOf(path: string): string {
  const name = basename(path).replace(/(OpenEnded|MultipleChoice)_/, "")
    .replace(/questions\.json$/, "annotations.json");
  const places = [dirname(path), join(dirname(path), "..", "Annotations")]
    .map((folder) => join(folder, name));
  const found = places.find((place) => isFile(place));
  if (found) return found;
  throw new DataError(
    `${path} holds VQA's questions, but their answers are in neither ${places.join(" nor ")}.`,
  );
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

interface List {
  readonly path: string;
  readonly list: readonly Readonly<Record<string, unknown>>[];
  readonly data_type: unknown;
  readonly data_subtype: unknown;
}

function readList(path: string, name: string): List {
  let file: unknown;
  try {
    file = JSON.parse(Deno.readTextFileSync(path));
  } catch (cause) {
    const why = (cause as Error).message;
    throw new DataError(`The data file ${path} cannot be read: ${why}.`, { cause });
  }
  const { data_type, data_subtype, [name]: list } = isRecord(file) ? file : {};
  if (!Array.isArray(list) || !list.every(isRecord)) {
    throw new DataError(`${path} has no list of ${name}, as VQA's files have.`);
  }
  return { path, list, data_type, data_subtype };
}
