/** One sample as the model gets it: its tokens with what each is to predict, and its pictures. */

import type { VlmDataset } from "./dataset.ts";

/** A place of a sequence, as training sees it. */
export interface InspectedToken {
  /** The place, from 0. */
  readonly at: number;
  /** The token that the model reads. */
  readonly x: number;
  /** What stands for it in the text. */
  readonly xText: string;
  /** The token that it should predict. */
  readonly y: number;
  /** What stands for that in the text. */
  readonly yText: string;
  /** Whether that counts: 1 or 0. */
  readonly mask: number;
}

/** A sample. */
export interface InspectedSample {
  /** Its file and line. */
  readonly place: string;
  /** The whole text that was encoded, as far as it was kept. */
  readonly text: string;
  /** Its pictures: name, size, and the pixels that the model sees [3, size, size]. */
  readonly pictures: readonly {
    readonly name: string;
    readonly width: number;
    readonly height: number;
    readonly pixels: Uint8Array<ArrayBuffer>;
  }[];
  /** The tokens, one fewer than the sample has. */
  readonly tokens: readonly InspectedToken[];
}

/**
 * Reads a sample.
 *
 * @param index The row, from 0.
 * @throws {DataError} where it cannot be used.
 */
export async function inspectSample(dataset: VlmDataset, index: number): Promise<InspectedSample> {
  const { row } = await dataset.encode(index);
  const { ids, mask, pictures } = await dataset.sample(index);
  const { tokenizer } = dataset;
  const sizes = await Promise.all(row.pictures.map((picture) => dataset.decode(picture)));
  return {
    place: dataset.place(index),
    text: tokenizer.decode(ids),
    pictures: pictures.map((pixels, i) => {
      const { width, height } = sizes[i]!;
      const name = row.pictures[i]!;
      return {
        name: typeof name === "string" ? name : `picture ${i + 1} of the row`,
        width,
        height,
        pixels,
      };
    }),
    tokens: Array.from({ length: Math.max(ids.length - 1, 0) }, (_, at) => {
      const [x, y] = [ids[at]!, ids[at + 1]!];
      const text = (id: number) => visible(tokenizer.bytesOf(id));
      return { at, x, xText: text(x), y, yText: text(y), mask: mask[at + 1]! };
    }),
  };
}

/** Bytes as text on one line; those that are no text by their numbers. */
function visible(bytes: Uint8Array): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  }
  const escapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  return text.replace(/\p{C}/gu, (c) => escapes[c] ?? `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/** Tokens with each run of more than four equal ones shortened to its ends. */
export function shortened(
  tokens: readonly InspectedToken[],
): readonly (InspectedToken | { readonly skipped: number })[] {
  const result: (InspectedToken | { skipped: number })[] = [];
  for (let from = 0, to = 0; from < tokens.length; from = to) {
    const { x, y, mask } = tokens[from]!;
    while (tokens[to]?.x === x && tokens[to]?.y === y && tokens[to]?.mask === mask) to++;
    const run = tokens.slice(from, to);
    if (run.length <= 4) result.push(...run);
    else result.push(run[0]!, { skipped: run.length - 2 }, run.at(-1)!);
  }
  return result;
}
