/** Data sets from any format that is read to Parquet, and to JSON Lines with a folder of pictures. */

import { basename } from "@std/path";
import { ByteWriter, ParquetWriter } from "hyparquet-writer";
import { DataError } from "../kernels/runtime/errors.ts";
import { isRecord } from "../model/strict_json.ts";
import { writeFileAtomic } from "./files.ts";
import { openRows } from "./open_rows.ts";
import { openPictures, type PictureSource } from "./picture_source.ts";
import { type ConversationRow, readRow } from "./row.ts";
import type { RowSource } from "./row_source.ts";
import { safeJoin } from "./safe_path.ts";

/** Bytes of pictures and rows in a row group: small enough to be kept, large enough to pack well. */
const GROUP_BYTES = 2 ** 25;
const GROUP_ROWS = 2000;

/** What is converted to what. */
export interface ConvertDataOptions {
  /** The data set. */
  readonly from: string;
  /** Where its pictures are, unless they are in it. */
  readonly images: string;
  /** The new file: `.parquet` or `.jsonl`. */
  readonly to: string;
  /** The folder for the pictures beside a `.jsonl`. */
  readonly toImages: string;
  /** Hears how many rows are done. */
  readonly moved?: (done: number, total: number) => void;
}

/**
 * Converts a data set.
 *
 * @returns The number of rows.
 * @throws {DataError} that names the place of a row that cannot be converted; nothing is written then
 * but pictures.
 */
export async function convertData(options: ConvertDataOptions): Promise<number> {
  using rows = openRows(options.from);
  if (rows.length === 0) throw new DataError(`The data file ${rows.path} has no rows.`);
  using pictures = openPictures(options.images);
  const content = options.to.endsWith(".parquet")
    ? parquetChunks(rows, pictures, options)
    : jsonlChunks(rows, pictures, options);
  await writeFileAtomic(options.to, content);
  return rows.length;
}

/** A row with its pictures' files. */
interface FullRow {
  readonly row: ConversationRow;
  readonly files: readonly Uint8Array[];
  readonly names: readonly (string | undefined)[];
}

async function* fullRows(
  rows: RowSource,
  pictures: PictureSource,
  { moved }: ConvertDataOptions,
): AsyncGenerator<FullRow> {
  for (let i = 0; i < rows.length; i++) {
    moved?.(i, rows.length);
    const value = await rows.row(i);
    try {
      const row = readRow(value);
      const files = await Promise.all(
        row.pictures.map((picture) =>
          typeof picture === "string" ? pictures.read(picture) : picture
        ),
      );
      const known = isRecord(value) && typeof value.name === "string" ? value.name : undefined;
      const names = row.pictures.map((picture) => typeof picture === "string" ? picture : known);
      yield { row, files, names };
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      throw new DataError(`${rows.place(i)}: ${error.message}`, { cause: error });
    }
  }
}

async function* parquetChunks(
  rows: RowSource,
  pictures: PictureSource,
  options: ConvertDataOptions,
): AsyncGenerator<Uint8Array> {
  const writer = new ByteWriter(GROUP_BYTES);
  const optional = { type: "BYTE_ARRAY", repetition_type: "OPTIONAL" } as const;
  const parquet = new ParquetWriter({
    writer,
    schema: [
      { name: "root", num_children: 3 },
      {
        name: "conversations",
        type: "BYTE_ARRAY",
        converted_type: "UTF8",
        repetition_type: "REQUIRED",
      },
      { name: "image_bytes", ...optional },
      { name: "image_name", converted_type: "UTF8", ...optional },
    ],
    createdBy: "glimpse",
  });
  const taken = () => {
    const bytes = writer.getBytes().slice();
    writer.index = 0;
    return bytes;
  };
  let texts: string[] = [], files: (Uint8Array | null)[] = [], names: (string | null)[] = [];
  let bytes = 0;
  const write = () => {
    const columnData = [
      { name: "conversations", data: texts },
      { name: "image_bytes", data: files, statistics: false },
      { name: "image_name", data: names },
    ];
    void parquet.write({ columnData, rowGroupSize: texts.length });
    [texts, files, names, bytes] = [[], [], [], 0];
    return taken();
  };
  for await (const { row, files: found, names: known } of fullRows(rows, pictures, options)) {
    if (found.length > 1) {
      throw new DataError(
        `${options.from} has a row with ${found.length} pictures, for which image_bytes has no room.`,
      );
    }
    const text = JSON.stringify(row.conversations);
    texts.push(text);
    files.push(found[0] ?? null);
    names.push(known[0] ?? null);
    bytes += text.length + (found[0]?.length ?? 0);
    if (bytes >= GROUP_BYTES || texts.length >= GROUP_ROWS) yield write();
  }
  if (texts.length > 0) yield write();
  void parquet.finish();
  yield taken();
}

async function* jsonlChunks(
  rows: RowSource,
  pictures: PictureSource,
  options: ConvertDataOptions,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  const written = new Set<string>();
  await Deno.mkdir(options.toImages, { recursive: true });
  for await (const { row, files, names } of fullRows(rows, pictures, options)) {
    const images: string[] = [];
    for (const [i, bytes] of files.entries()) {
      const name = names[i]?.replace(/^(\.?\/)+/, "") ?? await nameOf(bytes);
      if (name.includes(",")) {
        throw new DataError(`The picture's name "${name}" has a comma, which separates names.`);
      }
      if (!written.has(name)) {
        await writePicture(safeJoin(options.toImages, name, basename(options.from)), bytes);
        written.add(name);
      }
      images.push(name);
    }
    const image = images.length > 0 ? { image: images.join(", ") } : {};
    yield encoder.encode(`${JSON.stringify({ ...image, conversations: row.conversations })}\n`);
  }
}

async function writePicture(path: string, bytes: Uint8Array): Promise<void> {
  const info = await Deno.stat(path).catch(() => undefined);
  if (info?.size === bytes.length) return;
  await writeFileAtomic(path, bytes);
}

/** A name by the picture's content. */
async function nameOf(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-1", new Uint8Array(bytes));
  const kinds: readonly [string, string][] = [
    ["jpg", "ffd8ff"],
    ["png", "89504e47"],
    ["gif", "47494638"],
    ["webp", "52494646"],
    ["bmp", "424d"],
  ];
  const head = bytes.slice(0, 4).toHex();
  const ending = kinds.find(([, magic]) => head.startsWith(magic))?.[0] ?? "img";
  return `${new Uint8Array(hash).toHex()}.${ending}`;
}

/** The folder of pictures that goes with a data file: `x_images` for `x_data.jsonl`. */
export function picturesBeside(data: string): string {
  return `${data.replace(/(_data)?\.[^./\\]+$/, "")}_images`;
}
