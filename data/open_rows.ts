import { openCsv } from "./csv.ts";
import { isJsonArray, openJson } from "./json_file.ts";
import { JsonlFile } from "./jsonl.ts";
import { ParquetFile } from "./parquet.ts";
import type { RowIndex, RowSource } from "./row_source.ts";
import { isVqaQuestions, openVqa } from "./vqa_files.ts";

/**
 * Opens a data set by its ending: `.csv` and `.tsv` with names of columns in their first line, `.json`
 * with an array as LLaVA has it or with VQA's questions, `.parquet`, anything else with a JSON value a line.
 *
 * @param index That of the same file, opened before.
 * @throws {DataError} where it cannot be read.
 */
export function openRows(path: string, index?: RowIndex): RowSource {
  const ending = /\.[^./\\]*$/.exec(path)?.[0].toLowerCase();
  if (ending === ".csv" || ending === ".tsv") return openCsv(path, index);
  if (isVqaQuestions(path)) return openVqa(path);
  if (ending === ".json" && isJsonArray(path)) return openJson(path, index);
  if (ending === ".parquet") return ParquetFile.open(path);
  return JsonlFile.open(path, index);
}
