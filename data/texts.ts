/** The texts of a file, for who learns from text alone. */

import { DataError } from "../kernels/runtime/errors.ts";
import { isRecord } from "../model/strict_json.ts";
import { reasonOf } from "./files.ts";
import { openRows } from "./open_rows.ts";
import { readRow } from "./row.ts";

/**
 * Goes through the texts of a file: the lines of `.txt`, else of each row its `text` or its turns.
 *
 * @throws {DataError} that names the line where a row has neither.
 */
export async function* readTexts(path: string): AsyncGenerator<string, void, void> {
  if (/\.txt$/i.test(path)) return yield* readLines(path);
  using rows = openRows(path);
  for (let i = 0; i < rows.length; i++) {
    const row = await rows.row(i);
    const text = rowText(row);
    if (text !== undefined) yield text;
    else {
      const { conversations } = readRow(row);
      if (!Array.isArray(conversations)) {
        throw new DataError(`${rows.place(i)}: the row has neither a text nor conversations.`);
      }
      for (const turn of conversations) {
        if (isRecord(turn) && typeof turn.content === "string") yield turn.content;
      }
    }
  }
}

/** The text of a row such as `{"text": "…"}`; nothing for other rows, such as POPE's labelled questions. */
export function rowText(row: unknown): string | undefined {
  return isRecord(row) && typeof row.text === "string" && !("conversations" in row) &&
      !("label" in row)
    ? row.text
    : undefined;
}

async function* readLines(path: string): AsyncGenerator<string, void, void> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    throw new DataError(`The text file ${path} cannot be read: ${reasonOf(error)}.`);
  }
  let rest = "";
  for await (const piece of file.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split(/(?<=\n)/);
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}
