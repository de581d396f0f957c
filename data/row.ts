/** A row of a data set, its pictures' names checked. */

import { DataError } from "../kernels/runtime/errors.ts";
import { isRecord } from "../model/strict_json.ts";
import { type Conversation, readQuestion } from "./question.ts";

/** A conversation and the pictures that it is about. */
export interface ConversationRow extends Conversation {
  /** Names of picture files, or the files' bytes, in the order of their places in the text. */
  readonly pictures: readonly (string | Uint8Array)[];
}

/**
 * Reads a row such as `{"image": "a.jpg, b.jpg", "conversations": […]}`. A row without pictures has
 * an empty `image` or none. Turns may be LLaVA's: `{"from": "human", "value": "…"}`. Rows of a
 * question and its answer become conversations; see `question.ts`.
 *
 * @param row What the line holds.
 * @throws {DataError} where a name is missing or leads out of the pictures' folder.
 */
export function readRow(row: unknown): ConversationRow {
  if (!isRecord(row)) throw new DataError("the row is not an object.");
  const pictures = readPictures(row.image);
  const asked = row.conversations === undefined && readQuestion(row, pictures.length);
  if (asked) return { pictures, ...asked };
  const answers = ANSWERS.map((name) => row[name]).find(isTexts);
  return { pictures, conversations: readTurns(row.conversations), ...(answers && { answers }) };
}

/** What lists of further answers are called. */
const ANSWERS = ["answers", "captions", "references"];

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function readPictures(image: unknown): readonly (string | Uint8Array)[] {
  const isBytes = (value: unknown) => value instanceof Uint8Array;
  if (Array.isArray(image) && image.every(isBytes)) return image;
  if (image !== undefined && image !== null && typeof image !== "string") {
    throw new DataError(`image is ${quote(image)}, not a text of names with commas between them.`);
  }
  const pictures = image?.trim() ? image.split(",").map((name) => name.trim()) : [];
  for (const name of pictures) {
    if (name === "" || name.includes("\0") || name.split(/[\\/]/).includes("..")) {
      throw new DataError(
        `image holds ${quote(name)}, which is not the name of a file in the pictures' folder.`,
      );
    }
  }
  return pictures;
}

function readTurns(conversations: unknown): unknown {
  return Array.isArray(conversations) ? conversations.map(readTurn) : conversations;
}

/** LLaVA's names of those who speak. */
const SPEAKERS: Readonly<Record<string, string>> = { human: "user", gpt: "assistant" };

/** A turn with `role` and `content`, if it has `from` and `value` instead. */
function readTurn(turn: unknown): unknown {
  if (!isRecord(turn) || "content" in turn || !("value" in turn)) return turn;
  const from = String(turn.from);
  return { role: SPEAKERS[from] ?? from, content: turn.value };
}

function quote(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
