/** Parquet files of conversations with their pictures in them, read by row groups. */

import { type FileMetaData, parquetMetadata, parquetReadObjects, parquetSchema } from "hyparquet";
import { DataError, FormatError } from "../kernels/runtime/errors.ts";
import { isRecord } from "../model/strict_json.ts";
import { checkRow, openDataFile } from "./data_file.ts";
import type { RowIndex, RowSource } from "./row_source.ts";

/** How much of a file is kept unpacked: two parts that rows are shuffled in. In bytes. */
const PART_BYTES = 2 ** 27;

/** The longest row group that is unpacked, in bytes. */
const MAX_GROUP_BYTES = 2 ** 31;

const CONVERSATIONS = "conversations", PICTURE = "image_bytes", NAME = "image_name";
/** What the benchmarks' files have instead of conversations: MMStar's, POPE's, VQA's. */
const QUESTION = ["question", "answer", "answers", "choices", "options", "category"];
const TEXT = new TextDecoder("utf-8", { fatal: true });

interface Group {
  readonly begin: number;
  readonly end: number;
  readonly bytes: number;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * A Parquet file with the columns `conversations` (JSON text, or a list of turns) and `image_bytes`
 * (a picture's file, or several), as MiniMind-V's data sets have them. Without `image_bytes`, `image`
 * is read as the hub's own data sets have it: `{"bytes": …}`. In the place of `conversations` there may
 * be `question` and `answer`, as MMStar and POPE have them.
 *
 * A row group is unpacked when one of its rows is asked for, and kept until others need the room.
 */
export class ParquetFile implements RowSource {
  /** The path as it was given. */
  readonly path: string;
  /** Number of rows. */
  readonly length: number;
  /** Nothing; the file's own list of row groups is short. */
  readonly index: RowIndex = new Float64Array(new SharedArrayBuffer(0));
  /** Where parts of the file end that are small enough to be kept, in rows. */
  readonly sections: readonly number[];
  readonly #file: Deno.FsFile;
  readonly #metadata: FileMetaData;
  readonly #size: number;
  readonly #columns: string[];
  readonly #groups: readonly Group[];
  /** Unpacked row groups, the one used last at the end. */
  readonly #kept = new Map<Group, Promise<readonly Fields[]>>();

  private constructor(path: string, file: Deno.FsFile) {
    this.path = path;
    this.#file = file;
    this.#size = file.statSync().size;
    this.#metadata = readMetadata(path, file, this.#size);
    this.length = Number(this.#metadata.num_rows);
    const names = parquetSchema(this.#metadata).children.map(({ element }) => element.name);
    const picture = names.includes(PICTURE) ? PICTURE : "image";
    const asks = names.includes("question") && !names.includes(CONVERSATIONS);
    this.#columns = (asks ? [...QUESTION, picture] : [CONVERSATIONS, picture, NAME])
      .filter((name) => names.includes(name));
    if (!names.includes(CONVERSATIONS) && !asks) {
      throw new DataError(
        `${path} has no column ${CONVERSATIONS}; it has ${names.join(", ") || "none"}.`,
      );
    }
    this.#groups = groupsOf(this.#metadata);
    this.sections = sectionsOf(this.#groups);
  }

  /**
   * Opens a file and reads what is in it.
   *
   * @throws {DataError} where it cannot be opened, is no Parquet file, or lacks `conversations`.
   */
  static open(path: string): ParquetFile {
    return openDataFile(path, (file) => new ParquetFile(path, file));
  }

  /** Not known without reading the row. */
  bytes(_index: number): number {
    return 0;
  }

  /** The place of a row as errors name it: file and row, from 1. */
  place(index: number): string {
    return `${this.path}, row ${index + 1}`;
  }

  /**
   * The row of an index from 0, its pictures as bytes. Pictures that the text has no `<image>` for are
   * left out: MiniMind-V's rows without a picture carry a black one.
   *
   * @throws {DataError} that names file and row, where it cannot be read.
   */
  async row(index: number): Promise<unknown> {
    checkRow(this.path, index, this.length);
    const group = this.#groups.find(({ end }) => index < end)!;
    const fields = await this.#unpack(group).then((rows) => rows[index - group.begin], (cause) => {
      const why = (cause as Error).message.replace(/\.$/, "");
      throw new DataError(`${this.place(index)}: its row group cannot be read: ${why}.`, { cause });
    });
    if (!fields) throw new DataError(`${this.place(index)}: the row is missing.`);
    const pictures = picturesOf(fields[PICTURE] ?? fields.image);
    if (!this.#columns.includes(CONVERSATIONS)) {
      const asked = QUESTION.map((name) => [name, asText(fields[name])]);
      return { ...Object.fromEntries(asked), image: pictures };
    }
    const conversations = this.#conversations(fields[CONVERSATIONS], index);
    const hasPlace = JSON.stringify(conversations).includes("<image>");
    const name = fields[NAME];
    return {
      image: hasPlace ? pictures : [],
      ...(typeof name === "string" && hasPlace && { name }),
      conversations,
    };
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #conversations(value: unknown, index: number): unknown {
    try {
      if (typeof value === "string") return JSON.parse(value);
      return value instanceof Uint8Array ? JSON.parse(TEXT.decode(value)) : value;
    } catch (cause) {
      const why = (cause as Error).message;
      throw new DataError(`${this.place(index)}: ${CONVERSATIONS} is not valid JSON: ${why}.`, {
        cause,
      });
    }
  }

  #unpack(group: Group): Promise<readonly Fields[]> {
    const rows = this.#kept.get(group) ?? this.#read(group);
    this.#kept.delete(group);
    this.#kept.set(group, rows);
    let kept = [...this.#kept.keys()].reduce((sum, { bytes }) => sum + bytes, 0);
    for (const old of this.#kept.keys()) {
      if (kept <= 2 * PART_BYTES || this.#kept.size <= 2) break;
      this.#kept.delete(old);
      kept -= old.bytes;
    }
    return rows;
  }

  async #read({ begin, end, bytes }: Group): Promise<readonly Fields[]> {
    if (bytes > MAX_GROUP_BYTES) {
      throw new FormatError(
        `with rows ${begin + 1} to ${end} it has ${bytes} bytes, more than ${MAX_GROUP_BYTES}; ` +
          "write the file with smaller row groups",
      );
    }
    const { compressors } = await import("hyparquet-compressors");
    return await parquetReadObjects({
      file: {
        byteLength: this.#size,
        slice: (from: number, to = this.#size) => readRange(this.#file, from, to),
      },
      metadata: this.#metadata,
      columns: this.#columns,
      rowStart: begin,
      rowEnd: end,
      utf8: false,
      compressors,
    });
  }
}

/** A value with its bytes as the texts that they are. */
function asText(value: unknown): unknown {
  if (value instanceof Uint8Array) return TEXT.decode(value);
  if (Array.isArray(value)) return value.map(asText);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, asText(one)]));
}

function picturesOf(value: unknown): readonly unknown[] {
  const list = Array.isArray(value) ? value : value === null || value === undefined ? [] : [value];
  return list.map((one) => isRecord(one) && "bytes" in one ? one.bytes : one);
}

function readMetadata(path: string, file: Deno.FsFile, size: number): FileMetaData {
  try {
    if (size < 12) throw new FormatError("it is too short");
    const tail = readRange(file, size - 8, size);
    const length = new DataView(tail).getUint32(0, true);
    if (new TextDecoder().decode(tail.slice(4)) !== "PAR1" || length + 12 > size) {
      throw new FormatError("its end is missing, so it is truncated or none");
    }
    const metadata = parquetMetadata(readRange(file, size - 8 - length, size));
    checkGroups(metadata, size);
    return metadata;
  } catch (cause) {
    const why = (cause as Error).message;
    throw new DataError(`${path} is not a whole Parquet file: ${why}.`, { cause });
  }
}

/** Refuses lists of row groups that do not add up or lie outside of the file. */
function checkGroups({ num_rows, row_groups }: FileMetaData, size: number): void {
  const rows = row_groups.reduce((sum, group) => sum + group.num_rows, 0n);
  const inside = row_groups.every(({ num_rows, columns }) =>
    num_rows >= 0n &&
    columns.every(({ meta_data: column }) =>
      column !== undefined && column.total_uncompressed_size >= 0n &&
      column.data_page_offset >= 0n && column.total_compressed_size >= 0n &&
      (column.dictionary_page_offset ?? column.data_page_offset) + column.total_compressed_size <=
        BigInt(size)
    )
  );
  if (rows !== num_rows || !inside) throw new FormatError("its row groups do not add up");
}

function groupsOf({ row_groups }: FileMetaData): Group[] {
  let end = 0;
  return row_groups.map(({ num_rows, columns }) => {
    const begin = end;
    end += Number(num_rows);
    const bytes = columns.reduce(
      (sum, { meta_data }) => sum + Number(meta_data?.total_uncompressed_size ?? 0),
      0,
    );
    return { begin, end, bytes };
  });
}

/** Joins neighbouring row groups as long as they fit into a part. */
function sectionsOf(groups: readonly Group[]): number[] {
  const ends: number[] = [];
  let bytes = Infinity;
  for (const group of groups) {
    bytes += group.bytes;
    if (bytes > PART_BYTES) bytes = group.bytes;
    else ends.pop();
    ends.push(group.end);
  }
  return ends;
}

function readRange(file: Deno.FsFile, from: number, to: number): ArrayBuffer {
  const bytes = new Uint8Array(to - from);
  file.seekSync(from, Deno.SeekMode.Start);
  for (let at = 0; at < bytes.length;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) throw new FormatError("it has become shorter");
    at += count;
  }
  return bytes.buffer;
}
