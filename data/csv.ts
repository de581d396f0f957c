/** Tables of pictures and captions as comma- or tab-separated values (RFC 4180), of any size. */

import { DataError } from "../kernels/runtime/errors.ts";
import { chunksOf, GrowingList, openDataFile, readText } from "./data_file.ts";
import { pushRecord, RecordFile } from "./record_file.ts";
import type { RowIndex, RowSource } from "./row_source.ts";

const NEWLINE = 10, RETURN = 13, QUOTE = 34;

/** What columns may be called, in lower case. */
const COLUMNS = {
  image: ["image", "picture", "filename", "file_name", "file", "image_path", "path"],
  answer: ["caption", "answer", "text", "description", "title"],
  question: ["question", "prompt", "instruction"],
};

/** What is asked where the table has no questions. */
const QUESTION = "Describe this picture.";

/**
 * Opens a table with names of columns in its first line: `image` (or `picture`, `file`, `path` …),
 * `caption` (or `answer`, `text` …) and, if there are any, `question`s. Each row becomes a
 * conversation of one question and one answer. Fields may be quoted and then hold line breaks.
 *
 * @param index That of the same file, opened before.
 * @throws {DataError} where it cannot be opened, lacks a column, or ends within quotes.
 */
export function openCsv(path: string, index?: RowIndex): RowSource {
  const separator = path.toLowerCase().endsWith(".tsv") ? "\t" : ",";
  return openDataFile(path, (file) => {
    const records = index ?? findRecords(path, file);
    const names = splitFields(
      readText(file, `${path}:1`, records[0]!, records[1]!),
      separator,
      `${path}:1`,
    );
    const toRow = rowMaker(path, names);
    return new RecordFile(path, file, records, {
      heading: 1,
      parse(text, place) {
        const fields = splitFields(text, separator, place);
        if (fields.length === names.length) return toRow(fields);
        throw new DataError(
          `${place}: the row has ${fields.length} fields, and the first line ${names.length}.`,
        );
      },
    });
  });
}

function rowMaker(path: string, names: readonly string[]): (fields: readonly string[]) => unknown {
  const own = names.map((name) => name.trim().toLowerCase());
  const find = (known: readonly string[], needed: boolean) => {
    const name = known.find((name) => own.includes(name));
    if (name === undefined && needed) {
      throw new DataError(
        `${path}:1: there is no column ${known.join(" or ")}; the first line names ` +
          `${names.join(", ")}.`,
      );
    }
    return name === undefined ? -1 : own.indexOf(name);
  };
  const image = find(COLUMNS.image, true), answer = find(COLUMNS.answer, true);
  const question = find(COLUMNS.question, false);
  return (fields) => {
    const asked = fields[question]?.trim() ? fields[question] : QUESTION;
    const needsPlace = fields[image]!.trim() !== "" && !asked.includes("<image>");
    return {
      image: fields[image],
      conversations: [
        { role: "user", content: needsPlace ? `<image>\n${asked}` : asked },
        { role: "assistant", content: fields[answer] },
      ],
    };
  };
}

function splitFields(text: string, separator: string, place: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at <= text.length;) {
    let end: number;
    if (text[at] === '"') {
      let close = text.indexOf('"', at + 1);
      while (close >= 0 && text[close + 1] === '"') close = text.indexOf('"', close + 2);
      end = close + 1;
      if (close < 0 || (end < text.length && text[end] !== separator)) {
        throw new DataError(`${place}: field ${fields.length + 1} has text behind its quotes.`);
      }
      fields.push(text.slice(at + 1, close).replaceAll('""', '"'));
    } else {
      const next = text.indexOf(separator, at);
      end = next < 0 ? text.length : next;
      fields.push(text.slice(at, end));
    }
    at = end + 1;
  }
  return fields;
}

/** Finds the records; a line break within quotes ends none, and blank lines are none. */
function findRecords(path: string, file: Deno.FsFile): RowIndex {
  const records = new GrowingList();
  let at = 0, line = 1, inQuotes = false, begin = -1, end = 0, beginLine = 1;
  for (const chunk of chunksOf(file)) {
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      if (byte === QUOTE) inQuotes = !inQuotes;
      if (!inQuotes && byte === NEWLINE) {
        if (begin >= 0) pushRecord(records, begin, end, beginLine);
        begin = -1;
      } else if (inQuotes || byte !== RETURN) {
        if (begin < 0) [begin, beginLine] = [at + i, line];
        end = at + i + 1;
      }
      if (byte === NEWLINE) line++;
    }
    at += chunk.length;
  }
  if (inQuotes) {
    throw new DataError(
      `${path}:${beginLine}: a quoted field of the row that begins here does not end.`,
    );
  }
  if (begin >= 0) pushRecord(records, begin, end, beginLine);
  if (records.length === 0) throw new DataError(`The data file ${path} is empty.`);
  return records.shared();
}
