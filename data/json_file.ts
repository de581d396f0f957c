/** Files that hold one JSON array of rows, of any size, as LLaVA's data sets are. */

import { DataError } from "../kernels/runtime/errors.ts";
import { chunksOf, GrowingList, openDataFile, parseRow } from "./data_file.ts";
import { pushRecord, RecordFile } from "./record_file.ts";
import type { RowIndex, RowSource } from "./row_source.ts";

const NEWLINE = 10, QUOTE = 34, COMMA = 44, BACKSLASH = 92;
const OPEN_LIST = 91, CLOSE_LIST = 93, OPEN_OBJECT = 123, CLOSE_OBJECT = 125;
const BLANKS = [9, NEWLINE, 13, 32];
const MARK = [0xef, 0xbb, 0xbf];

/**
 * Whether a file's first character is that of an array.
 *
 * @throws {DataError} where it cannot be opened.
 */
export function isJsonArray(path: string): boolean {
  return openDataFile(path, (file) => {
    using opened = file;
    for (const chunk of chunksOf(opened)) {
      const first = chunk.find((byte) => !BLANKS.includes(byte) && !MARK.includes(byte));
      if (first !== undefined) return first === OPEN_LIST;
    }
    return false;
  });
}

/**
 * Opens a JSON array of rows and finds them in one pass, unless they are known.
 *
 * @param index That of the same file, opened before.
 * @throws {DataError} where it cannot be opened, holds no array, or ends within it.
 */
export function openJson(path: string, index?: RowIndex): RowSource {
  return openDataFile(
    path,
    (file) =>
      new RecordFile(path, file, index ?? findRows(path, file), { heading: 0, parse: parseRow }),
  );
}

/** Cuts an array at its commas. What lies between them is parsed when it is asked for. */
function findRows(path: string, file: Deno.FsFile): RowIndex {
  const rows = new GrowingList();
  let at = 0, line = 1, depth = 0, inText = false, escaped = false, ended = false;
  let begin = -1, end = -1, beginLine = 1; // of the row so far, without the blanks around it
  const refuse = (why: string): never => {
    throw new DataError(`${path}:${line}: ${why}.`);
  };
  const finish = (last: boolean) => {
    if (begin >= 0) pushRecord(rows, begin, end, beginLine);
    else if (!last || rows.length > 0) refuse("there is no row beside the comma");
    begin = -1;
  };
  for (const chunk of chunksOf(file)) {
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      if (byte === NEWLINE) line++;
      if (inText) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inText = false;
        end = at + i + 1;
        continue;
      }
      if (BLANKS.includes(byte) || (at + i < 3 && MARK.includes(byte))) continue;
      if (ended) refuse("something stands behind the array");
      if (depth === 0 && byte !== OPEN_LIST) refuse("the file does not begin with an array");
      if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
      if (depth === 0 && byte !== OPEN_LIST) {
        finish(true);
        ended = true;
      } else if (depth === 1 && byte === COMMA) finish(false);
      else {
        if (depth > 0) {
          if (begin < 0) [begin, beginLine] = [at + i, line];
          end = at + i + 1;
        }
        if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
        inText = byte === QUOTE;
      }
    }
    at += chunk.length;
  }
  if (!ended) {
    const last = begin >= 0 ? ` within the row that begins at line ${beginLine}` : "";
    throw new DataError(`${path} ends before its array does${last}; it is truncated.`);
  }
  return rows.shared();
}
