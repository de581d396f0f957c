/** Pictures with captions, for who learns from pairs. */

import { DataError } from "../kernels/runtime/errors.ts";
import { isRecord } from "../model/strict_json.ts";
import { readRow } from "./row.ts";

/** A picture and what is said of it. */
export interface CaptionedRow {
  /** Name of the picture's file, or the file's bytes. */
  readonly picture: string | Uint8Array;
  /** What is said of it. */
  readonly caption: string;
}

/**
 * Reads a row as a pair: its picture, and its `caption` or `text`, the first of its `captions`, or else the first answer
 * of its conversation.
 *
 * @throws {DataError} where there is not one picture, or nothing is said of it.
 */
export function readCaptionedRow(value: unknown): CaptionedRow {
  if (!isRecord(value)) throw new DataError("the row is not an object.");
  const { caption, text, captions } = value;
  const own = [caption, text, Array.isArray(captions) ? captions[0] : undefined].find(isText);
  const { pictures, conversations } = readRow(
    own === undefined ? value : { ...value, conversations: [] },
  );
  const said = own ?? firstAnswer(conversations);
  if (pictures.length !== 1) {
    throw new DataError(`a pair has one picture, and the row has ${pictures.length}.`);
  }
  if (!said?.trim()) throw new DataError("nothing is said of the row's picture.");
  return { picture: pictures[0]!, caption: said.trim() };
}

function firstAnswer(conversations: unknown): string | undefined {
  if (!Array.isArray(conversations)) return undefined;
  const turn = conversations.find((turn) => isRecord(turn) && turn.role === "assistant");
  return isText(turn?.content) ? turn.content : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}
