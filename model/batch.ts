import { ShapeError } from "../kernels/runtime/errors.ts";

/** One conversation with its pictures, as numbers. */
export interface Sample {
  /** Its place in the data set, from 0. */
  readonly index: number;
  /** Token ids, without padding. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** For each token whether the model is to learn to say it: 1 or 0. */
  readonly mask: Uint8Array<ArrayBuffer>;
  /** First token of each picture's run of placeholders. */
  readonly pictureStarts: readonly number[];
  /** The pictures, each uint8 [3, size, size], resized and cropped but not normalised. */
  readonly pictures: readonly Uint8Array<ArrayBuffer>[];
}

/** Several samples as the model takes them: their rows follow each other without padding. */
export interface Batch {
  /** Token ids of all rows [T]. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Rows of each sequence. */
  readonly lengths: readonly number[];
  /** Rows whose next token is to be learnt [R]; of pairs the last row of each text, at which it is read. */
  readonly labelRows: Uint32Array<ArrayBuffer>;
  /** That next token [R]. */
  readonly targets: Uint32Array<ArrayBuffer>;
  /** Rows that pictures' features replace, picture by picture. */
  readonly imageRows: Uint32Array<ArrayBuffer>;
  /** Pictures [N, 3, size, size] as bytes. */
  readonly pictures: Uint8Array<ArrayBuffer>;
  /** Number of pictures. */
  readonly pictureCount: number;
  /** Samples that went in, with those that had nothing to learn. */
  readonly samples: number;
}

/**
 * Packs samples into a batch. Row i of a sequence predicts token i + 1; rows after the last one that is to be learnt,
 * which nothing reads, are left out, and so are samples in which nothing is to be learnt.
 *
 * @param samples What goes in.
 * @param tokensPerPicture Placeholders of a picture, 196 for CLIP ViT-B/16.
 * @param padTo Rows that every sequence is padded to with `padId`, as the original does; 0 for none.
 * @param padId The padding token.
 */
export function packSamples(
  samples: readonly Sample[],
  tokensPerPicture: number,
  padTo = 0,
  padId = 0,
): Batch {
  const ids: number[] = [],
    lengths: number[] = [],
    labelRows: number[] = [],
    targets: number[] = [];
  const imageRows: number[] = [], pictures: Uint8Array[] = [];
  for (const sample of samples) {
    if (sample.pictureStarts.length !== sample.pictures.length) {
      throw new ShapeError(
        `Sample ${sample.index} has ${sample.pictures.length} pictures for ${sample.pictureStarts.length} places.`,
      );
    }
    const last = sample.mask.lastIndexOf(1);
    if (last < 1) continue;
    const first = ids.length;
    const seen = sample.pictureStarts.filter((start) => start < last);
    const needed = Math.max(last, ...seen.map((start) => start + tokensPerPicture));
    const length = Math.max(needed, padTo);
    for (let i = 0; i < length; i++) {
      ids.push(sample.ids[i] ?? padId);
      if (sample.mask[i + 1] === 1) {
        labelRows.push(first + i);
        targets.push(sample.ids[i + 1] ?? padId);
      }
    }
    lengths.push(length);
    seen.forEach((start, picture) => {
      for (let i = 0; i < tokensPerPicture; i++) imageRows.push(first + start + i);
      pictures.push(sample.pictures[picture]!);
    });
  }
  return {
    ids: Uint32Array.from(ids),
    lengths,
    labelRows: Uint32Array.from(labelRows),
    targets: Uint32Array.from(targets),
    imageRows: Uint32Array.from(imageRows),
    pictures: joined(pictures),
    pictureCount: pictures.length,
    samples: samples.length,
  };
}

/**
 * Packs pictures with their texts into a batch for contrastive learning: sample i is text i and picture i.
 *
 * @param samples Each has one picture, and the text's ids end with the token at which it is read.
 */
export function packPairs(samples: readonly Sample[]): Batch {
  const odd = samples.find(({ pictures }) => pictures.length !== 1);
  if (odd) {
    throw new ShapeError(`Sample ${odd.index} has ${odd.pictures.length} pictures for its text.`);
  }
  const lengths = samples.map(({ ids }) => ids.length);
  const ends: number[] = [];
  for (const length of lengths) ends.push((ends.at(-1) ?? -1) + length);
  return {
    ids: Uint32Array.from(samples.flatMap(({ ids }) => [...ids])),
    lengths,
    labelRows: Uint32Array.from(ends),
    targets: new Uint32Array(),
    imageRows: new Uint32Array(),
    pictures: joined(samples.flatMap(({ pictures }) => pictures)),
    pictureCount: samples.length,
    samples: samples.length,
  };
}

/** Pictures one behind the other. */
export function joined(pictures: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pictures.reduce((sum, picture) => sum + picture.length, 0));
  pictures.reduce((at, picture) => (bytes.set(picture, at), at + picture.length), 0);
  return bytes;
}
