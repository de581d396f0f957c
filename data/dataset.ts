/** Conversations about pictures, from a file of rows and a folder to token ids and pixels. */

import { DataError, FormatError, UsageError } from "../kernels/runtime/errors.ts";
import type { Sample } from "../model/batch.ts";
import type { TokenizerFiles } from "../model/byte_tokenizer.ts";
import { ChatTemplate } from "../model/chat_template.ts";
import { clipTokens } from "../model/clip_config.ts";
import { ImageProcessor } from "../model/image_processor.ts";
import { encodeConversation } from "../model/loss_mask.ts";
import { findRuns, imagePlaceholder } from "../model/placeholders.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { readCaptionedRow } from "./caption.ts";
import { openRows } from "./open_rows.ts";
import { decodePicture, type RgbPicture } from "./picture.ts";
import { openPictures, type PictureSource } from "./picture_source.ts";
import { type ConversationRow, readRow } from "./row.ts";
import type { RowIndex, RowSource } from "./row_source.ts";
import { rowText } from "./texts.ts";
import type { ZipIndex } from "./zip_archive.ts";

/** What a data set is made of; it can be sent to a worker. */
export interface DatasetSource {
  /** The file of rows, in a format that `row_source.ts` reads. */
  readonly dataPath: string;
  /** The folder that the pictures' names are relative to, or a zip archive of it. */
  readonly imagesPath: string;
  /** The tokenizer's files, with the chat template. */
  readonly tokenizer: TokenizerFiles;
  /** The parsed `preprocessor_config.json`; that of CLIP ViT-B/16 if left out. */
  readonly preprocessor?: unknown;
  /** Tokens after which a sample is cut off. */
  readonly maxLength: number;
  /** Placeholders of a picture; 196, those of CLIP ViT-B/16, if left out. */
  readonly tokensPerPicture?: number;
  /** Whether a sample is a picture with its caption alone, for contrastive learning; false if left out. */
  readonly captions?: boolean;
  /** The text of one placeholder; the tokenizer's if left out. */
  readonly placeholder?: string;
  /** Where the file's rows are, if that is known. */
  readonly rowIndex?: RowIndex;
  /** Where the pictures are in their archive, if that is known. */
  readonly pictureIndex?: ZipIndex;
}

/** A row and its tokens. */
export interface EncodedRow extends Pick<Sample, "ids" | "mask" | "pictureStarts"> {
  /** The row. */
  readonly row: ConversationRow;
  /** Whether it was cut off. */
  readonly truncated: boolean;
}

/** Placeholders that a picture takes where nothing else is said: 14 × 14 patches. */
export const TOKENS_PER_PICTURE = 196;

const IMAGE_TOKEN = "<image>";

/**
 * Rows such as `{"image": "a.jpg, b.jpg", "conversations": [{"role": "user", "content": "…"}, …]}`
 * as the numbers that a model trains with, or rows such as `{"text": "…"}`, all of which is learnt.
 *
 * Each `<image>` becomes a picture's placeholders, the chat template makes one text of the turns, and
 * the answers are what is to be learnt. A picture whose placeholders do not all fit is an error.
 *
 * @example
 * ```ts ignore
 * using dataset = VlmDataset.open({ dataPath, imagesPath, tokenizer: files, maxLength: 640 });
 * const { ids, mask } = await dataset.sample(0);
 * ```
 */
export class VlmDataset implements Disposable {
  readonly #source: DatasetSource;
  readonly #rows: RowSource;
  readonly #pictures: PictureSource;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate;
  readonly #processor: ImageProcessor;
  /** Text and tokens of a picture. */
  readonly #picture: { readonly text: string; readonly ids: readonly number[] };

  private constructor(source: DatasetSource, rows: RowSource, pictures: PictureSource) {
    const { tokenizer, preprocessor } = source;
    this.#source = source;
    this.#rows = rows;
    this.#pictures = pictures;
    this.#tokenizer = new Tokenizer(tokenizer.tokenizer, tokenizer.config);
    this.#template = ChatTemplate.fromConfig(tokenizer.config);
    this.#processor = new ImageProcessor(preprocessor);
    const tokens = source.tokensPerPicture ?? TOKENS_PER_PICTURE;
    const placeholder = source.placeholder ?? imagePlaceholder(this.#tokenizer);
    const text = placeholder.repeat(tokens);
    this.#picture = { text, ids: this.#tokenizer.encode(text) };
    if (this.#picture.ids.length !== tokens) {
      throw new UsageError(
        `The placeholder "${placeholder}", ${tokens} times, is ${this.#picture.ids.length} tokens ` +
          "of this tokenizer; name a placeholder that is one token each time.",
      );
    }
  }

  /**
   * Opens a data set.
   *
   * @throws {DataError} where its file cannot be read or has no rows.
   * @throws {FormatError} where the tokenizer's or the processor's files are not usable.
   * @throws {UsageError} where the placeholder is not one token.
   */
  static open(source: DatasetSource): VlmDataset {
    using opened = new DisposableStack();
    const rows = opened.use(openRows(source.dataPath, source.rowIndex));
    if (rows.length === 0) throw new DataError(`The data file ${rows.path} has no rows.`);
    const pictures = opened.use(openPictures(source.imagesPath, source.pictureIndex));
    const dataset = new VlmDataset(source, rows, pictures);
    opened.move();
    return dataset;
  }

  /** Number of rows. */
  get length(): number {
    return this.#rows.length;
  }

  /** The tokenizer. */
  get tokenizer(): Tokenizer {
    return this.#tokenizer;
  }

  /** What pictures go through. */
  get processor(): ImageProcessor {
    return this.#processor;
  }

  /**
   * Reads a picture's file.
   *
   * @param picture Its name, or the file itself.
   * @throws {DataError} where it cannot be read.
   */
  async read(picture: string | Uint8Array): Promise<Uint8Array> {
    return typeof picture === "string" ? await this.#pictures.read(picture) : picture;
  }

  /**
   * Decodes a picture.
   *
   * @param picture Its name, or its file.
   * @throws {DataError} where it cannot be read.
   */
  async decode(picture: string | Uint8Array): Promise<RgbPicture> {
    return typeof picture === "string"
      ? await this.#pictures.decode(picture)
      : await decodePicture(picture);
  }

  /** The place of a row as errors name it: file and line, from 1. */
  place(index: number): string {
    return this.#rows.place(index);
  }

  /**
   * Makes the sample of a row.
   *
   * @param index The row, from 0.
   * @throws {DataError} with file and line where the row or one of its pictures cannot be used.
   */
  async sample(index: number): Promise<Sample> {
    const { row, ids, mask, pictureStarts } = await this.encode(index);
    const pictures = await this.#placed(
      index,
      () => Promise.all(row.pictures.map((picture) => this.#pixels(picture))),
    );
    return { index, ids, mask, pictureStarts, pictures };
  }

  /**
   * Reads a row and encodes it, its pictures left where they are.
   *
   * @param index The row, from 0.
   * @param maxLength Tokens after which it is cut off; the data set's own if left out.
   * @throws {DataError} with file and line where the row cannot be used.
   */
  async encode(index: number, maxLength: number = this.#source.maxLength): Promise<EncodedRow> {
    const value = await this.#rows.row(index);
    if (this.#source.captions) {
      return await this.#placed(index, () => this.#encodeCaption(value, maxLength));
    }
    const text = rowText(value);
    if (text !== undefined) return this.#encodeText(text, maxLength);
    return await this.#placed(index, () => {
      const row = readRow(value);
      return { row, ...this.#encode(row, maxLength) };
    });
  }

  /** Does something for a row and names its place in errors. */
  async #placed<T>(index: number, action: () => T | Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof DataError || error instanceof FormatError)) throw error;
      throw new DataError(`${this.place(index)}: ${error.message}`, { cause: error });
    }
  }

  #encode(
    { conversations, pictures }: ConversationRow,
    maxLength: number,
  ): Omit<EncodedRow, "row"> {
    const encoded = encodeConversation(this.#tokenizer, this.#template, conversations, {
      maxLength,
      imagePlaceholder: this.#picture.text,
    });
    const { images, cutImages, truncated } = encoded;
    if (images + cutImages !== pictures.length) {
      throw new DataError(
        `the text has ${
          images + cutImages
        } of ${IMAGE_TOKEN}, the place for a picture, and image names ` +
          `${pictures.length}.`,
      );
    }
    if (cutImages > 0) {
      throw new DataError(
        `picture ${images + 1} does not fit into the first ${maxLength} tokens; ` +
          "allow longer samples or shorten the text before it.",
      );
    }
    const ids = Uint32Array.from(encoded.ids), mask = Uint8Array.from(encoded.mask);
    return { ids, mask, pictureStarts: findRuns(ids, this.#picture.ids), truncated };
  }

  /** A caption between the tokens that begin and end it for CLIP; where it is too long, its own end is cut off. */
  #encodeCaption(value: unknown, maxLength: number): EncodedRow {
    const { picture, caption } = readCaptionedRow(value);
    const { bosId, endId } = clipTokens(this.#tokenizer);
    const begin = bosId === undefined ? [] : [bosId];
    const said = this.#tokenizer.encode(caption, { special: false });
    const room = maxLength - begin.length - 1;
    const ids = Uint32Array.from([...begin, ...said.slice(0, room), endId]);
    return {
      row: { pictures: [picture], conversations: [{ role: "assistant", content: caption }] },
      ids,
      mask: new Uint8Array(ids.length),
      pictureStarts: [],
      truncated: said.length > room,
    };
  }

  /** A text as a sample all of which is to be learnt, between the tokens that begin and end, unless it has them. */
  #encodeText(text: string, maxLength: number): EncodedRow {
    const { bosId, eosId } = this.#tokenizer;
    const ids = this.#tokenizer.encode(text);
    if (bosId !== undefined && ids[0] !== bosId) {
      ids.unshift(bosId);
      ids.push(eosId);
    }
    const kept = Uint32Array.from(ids.slice(0, maxLength));
    return {
      row: { pictures: [], conversations: [{ role: "assistant", content: text }] },
      ids: kept,
      mask: new Uint8Array(kept.length).fill(1),
      pictureStarts: [],
      truncated: ids.length > maxLength,
    };
  }

  async #pixels(picture: string | Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(this.#processor.process(await this.decode(picture)));
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    this.#rows[Symbol.dispose]();
    this.#pictures[Symbol.dispose]();
  }
}
