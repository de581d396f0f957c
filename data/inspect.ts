/** What is in a data set: how long its rows are, what of them is learnt, what is wrong with them. */

import { DataError } from "../kernels/runtime/errors.ts";
import { type DatasetSource, type EncodedRow, TOKENS_PER_PICTURE, VlmDataset } from "./dataset.ts";
import { spreadRows } from "./order.ts";
import { pictureSize } from "./picture.ts";

/** How closely a data set is looked at. */
export interface InspectOptions {
  /** Rows to look at, spread evenly; all if left out. */
  readonly rows?: number | undefined;
  /** Whether pictures are left alone, measured, or decoded to the last pixel. */
  readonly pictures: "none" | "size" | "decode";
  /** Hears how many rows are done. */
  readonly moved?: (done: number, total: number) => void;
  /** Ends it early; the report is then of what was seen. */
  readonly signal?: AbortSignal;
}

/** Some numbers in order, and what is said of them. */
export interface Distribution {
  /** How many there are. */
  readonly count: number;
  /** The least. */
  readonly least: number;
  /** Half are not above it. */
  readonly median: number;
  /** Nine of ten are not above it. */
  readonly p90: number;
  /** 99 of 100 are not above it. */
  readonly p99: number;
  /** The greatest. */
  readonly greatest: number;
  /** Their mean. */
  readonly mean: number;
  /** How many fall into each part of equal width, from 0 on. */
  readonly parts: readonly number[];
  /** That width. */
  readonly width: number;
}

/** What was found. */
export interface DataReport {
  /** Rows of the file. */
  readonly rows: number;
  /** Rows that were looked at. */
  readonly seen: number;
  /** What is wrong with rows that cannot be used, with file and line: the first ones. */
  readonly problems: readonly string[];
  /** How many rows cannot be used. */
  readonly bad: number;
  /** Tokens of the rows that can be used, before any is cut off. */
  readonly tokens: Distribution;
  /** Tokens that are learnt, as a share of all, before any is cut off. */
  readonly answerShare: number;
  /** Rows that are cut off. */
  readonly truncated: number;
  /** Tokens to learn that are lost by that, as a share. */
  readonly lostShare: number;
  /** Rows of which nothing is learnt, cut off as they are. */
  readonly withoutAnswer: number;
  /** Turns of the conversations. */
  readonly turns: Distribution;
  /** Rows by their number of pictures. */
  readonly picturesPerRow: ReadonlyMap<number, number>;
  /** Pictures that were measured. */
  readonly pictures: number;
  /** Widths in pixels. */
  readonly widths: Distribution;
  /** Heights in pixels. */
  readonly heights: Distribution;
  /** Pictures that several rows name. */
  readonly sharedPictures: number;
  /** Rows that repeat an earlier one, picture and text. */
  readonly duplicates: number;
  /** Some of them, with the earlier row. */
  readonly duplicateExamples: readonly string[];
}

const EXAMPLES = 20;

/**
 * Goes through a data set.
 *
 * @throws {DataError} where the file cannot be read; bad rows are reported instead.
 */
export async function inspectData(
  source: DatasetSource,
  options: InspectOptions,
): Promise<DataReport> {
  using dataset = VlmDataset.open(source);
  const { length } = dataset;
  const rows = spreadRows(length, options.rows), total = rows.length;
  const problems: string[] = [], duplicateExamples: string[] = [];
  const tokens: number[] = [], turns: number[] = [], widths: number[] = [], heights: number[] = [];
  const picturesPerRow = new Map<number, number>();
  const earlier = new Map<string, number>(), uses = new Map<string, number>();
  let seen = 0, bad = 0, truncated = 0, withoutAnswer = 0, duplicates = 0, answers = 0, kept = 0;
  for (; seen < total && !options.signal?.aborted; seen++) {
    const index = rows[seen]!;
    options.moved?.(seen, total);
    try {
      const { row, ids, mask } = await encodeWhole(dataset, index, source);
      const learnt = count(mask), learntKept = count(mask.subarray(0, source.maxLength));
      for (const picture of row.pictures) {
        const name = await nameOf(picture);
        const known = uses.get(name) ?? 0;
        if (known === 0 && options.pictures !== "none") {
          const size = await measure(dataset, picture, options.pictures, index);
          widths.push(size.width);
          heights.push(size.height);
        }
        uses.set(name, known + 1);
      }
      tokens.push(ids.length);
      turns.push((row.conversations as unknown[]).length);
      answers += learnt;
      kept += learntKept;
      if (ids.length > source.maxLength) truncated++;
      if (learntKept === 0) withoutAnswer++;
      picturesPerRow.set(row.pictures.length, (picturesPerRow.get(row.pictures.length) ?? 0) + 1);
      const names = await Promise.all(row.pictures.map(nameOf));
      const key = await digest(JSON.stringify([names, row.conversations]));
      const first = earlier.get(key);
      if (first === undefined) earlier.set(key, index);
      else if (++duplicates <= EXAMPLES) {
        duplicateExamples.push(`${dataset.place(index)} repeats ${dataset.place(first)}`);
      }
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      if (++bad <= EXAMPLES) problems.push(error.message);
    }
  }
  return {
    rows: length,
    seen,
    problems,
    bad,
    tokens: distribution(tokens),
    answerShare: ratio(answers, tokens.reduce((a, b) => a + b, 0)),
    truncated,
    lostShare: ratio(answers - kept, answers),
    withoutAnswer,
    turns: distribution(turns),
    picturesPerRow: new Map([...picturesPerRow].sort(([a], [b]) => a - b)),
    pictures: widths.length,
    widths: distribution(widths),
    heights: distribution(heights),
    sharedPictures: [...uses.values()].filter((n) => n > 1).length,
    duplicates,
    duplicateExamples,
  };
}

/** A row in full length; an error where a picture would not fit once it is cut off. */
async function encodeWhole(
  dataset: VlmDataset,
  index: number,
  { maxLength, tokensPerPicture = TOKENS_PER_PICTURE }: DatasetSource,
): Promise<EncodedRow> {
  let encoded: EncodedRow | undefined;
  for (let bound = 2 * maxLength; encoded === undefined; bound *= 4) {
    try {
      const row = await dataset.encode(index, bound);
      if (!row.truncated) encoded = row;
    } catch (error) {
      const tooLong = error instanceof DataError &&
        /does not fit into the first/.test(error.message);
      if (!tooLong || bound > 1e6) throw error;
    }
  }
  const beyond = encoded.pictureStarts.findIndex((at) => at + tokensPerPicture > maxLength);
  if (beyond < 0) return encoded;
  throw new DataError(
    `${dataset.place(index)}: picture ${beyond + 1} does not fit into the first ${maxLength} ` +
      "tokens; allow longer samples or shorten the text before it.",
  );
}

async function measure(
  dataset: VlmDataset,
  picture: string | Uint8Array,
  how: "size" | "decode",
  index: number,
): Promise<{ width: number; height: number }> {
  try {
    return how === "decode" ? await dataset.decode(picture) : await pictureSize(
      await dataset.read(picture),
      typeof picture === "string" ? `picture ${picture}` : undefined,
    );
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new DataError(`${dataset.place(index)}: ${error.message}`, { cause: error });
  }
}

/** What can be said of some numbers. */
export function distribution(values: readonly number[]): Distribution {
  const sorted = Float64Array.from(values).sort();
  const count = sorted.length;
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * count) - 1)] ?? 0;
  const greatest = at(1);
  const width = niceWidth(greatest);
  const parts = new Array<number>(count === 0 ? 0 : Math.floor(greatest / width) + 1).fill(0);
  for (const value of sorted) parts[Math.floor(value / width)]!++;
  return {
    count,
    least: at(0),
    median: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    greatest,
    mean: ratio(sorted.reduce((a, b) => a + b, 0), count),
    parts,
    width,
  };
}

/** 1, 2 or 5 times a power of ten, so that at most 20 parts reach the greatest. */
function niceWidth(greatest: number): number {
  for (let power = 1;; power *= 10) {
    const found = [1, 2, 5].find((digit) => greatest / (digit * power) < 20);
    if (found !== undefined) return found * power;
  }
}

function count(mask: Uint8Array): number {
  return mask.reduce((sum, bit) => sum + bit, 0);
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/** What tells pictures apart: their names, or their contents. */
async function nameOf(picture: string | Uint8Array): Promise<string> {
  return typeof picture === "string" ? picture : await digest(picture);
}

async function digest(content: string | Uint8Array): Promise<string> {
  const bytes = typeof content === "string"
    ? new TextEncoder().encode(content)
    : new Uint8Array(content);
  return new Uint8Array(await crypto.subtle.digest("SHA-1", bytes)).subarray(0, 10).toHex();
}
