import { ShapeError } from "../kernels/runtime/errors.ts";
import type { ChatMessage, ChatTemplate, ChatTemplateOptions } from "./chat_template.ts";
import { imagePlaceholder } from "./placeholders.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A conversation as the model reads it before it answers. */
export interface Prompt {
  /** Token ids. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Rows that the pictures' features take, picture by picture. */
  readonly imageRows: Uint32Array<ArrayBuffer>;
  /** Number of pictures. */
  readonly pictureCount: number;
}

/** A picture's place among the texts of a turn. */
export interface PicturePlace {
  /** Tells it from a text. */
  readonly picture: true;
}

/** The place of the next picture. */
export const PICTURE: PicturePlace = { picture: true };

/** One turn of a conversation, with pictures between its texts. */
export interface Turn extends ChatMessage {
  /** Texts and pictures in their order, or a text in which `<image>` stands for each picture. */
  content?: string | readonly (string | PicturePlace)[];
}

/**
 * Turns a conversation into the ids that an answer continues.
 *
 * Only the template makes special tokens and only pictures make their placeholders: what looks like either in a turn's
 * text is read as the characters that it consists of, so no turn can be left by what stands in it.
 *
 * @param tokenizer Encodes the text.
 * @param template Writes the turns as one text.
 * @param turns The turns.
 * @param tokensPerPicture Rows that a picture takes.
 * @param variables What else the template is given.
 * @throws {ShapeError} when the tokenizer has no token for a picture's rows.
 *
 * ```ts ignore
 * encodePrompt(tokenizer, template, [{ role: "user", content: [PICTURE, "\nWhat is this?"] }], 196);
 * ```
 */
export function encodePrompt(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  turns: readonly Turn[],
  tokensPerPicture: number,
  variables: ChatTemplateOptions = {},
): Prompt {
  const placeholder = tokenizer.encode(imagePlaceholder(tokenizer));
  if (placeholder.length !== 1) {
    throw new ShapeError(
      `This tokenizer makes ${placeholder.length} tokens of a picture's placeholder instead of one; it is not this model's.`,
    );
  }
  const hidden = new Hidden(tokenizer, turns);
  const text = template.render(hidden.turns, { ...variables, addGenerationPrompt: true });
  const ids: number[] = [];
  const imageRows: number[] = [];
  let run = "";
  const flush = (): void => {
    for (const id of tokenizer.encode(run, { special: false })) ids.push(id); // too many for the arguments of one call
    run = "";
  };
  for (const piece of hidden.pieces(text)) {
    if (typeof piece === "object") {
      flush();
      for (let i = 0; i < tokensPerPicture; i++) imageRows.push(ids.push(placeholder[0]!) - 1);
    } else if (typeof piece === "number") {
      flush();
      ids.push(piece);
    } else run += piece; // texts are encoded as far as they reach: words may span two pieces
  }
  flush();
  return {
    ids: Uint32Array.from(ids),
    imageRows: Uint32Array.from(imageRows),
    pictureCount: imageRows.length / tokensPerPicture,
  };
}

/** Turns with marks in the place of pictures and of what looks like a special token, and back again. */
class Hidden {
  /** The turns with marks. */
  readonly turns: readonly ChatMessage[];
  readonly #tokenizer: Tokenizer;
  readonly #special: readonly string[];
  readonly #kept: (string | PicturePlace)[] = [];
  readonly #mark: string;

  constructor(tokenizer: Tokenizer, turns: readonly Turn[]) {
    this.#tokenizer = tokenizer;
    this.#special = [...tokenizer.specialIds].map((id) => tokenizer.decode([id]))
      .sort((a, b) => b.length - a.length);
    const contents = turns.map(({ content = "" }) => content);
    const all = JSON.stringify(turns) + contents.flat().join("");
    let mark = 0xe000; // the first of the private characters that no turn has
    while (all.includes(String.fromCharCode(mark))) mark++;
    this.#mark = String.fromCharCode(mark);
    this.turns = turns.map((turn, i) => ({ ...turn, content: this.#hide(contents[i]!) }));
  }

  /** What a rendered text consists of: texts, ids of the template's special tokens, pictures. */
  *pieces(rendered: string): Generator<string | number | PicturePlace> {
    for (const [i, text] of rendered.split(this.#mark).entries()) {
      if (i % 2 === 1) yield this.#kept[Number(text)]!;
      else yield* this.#templatePieces(text);
    }
  }

  *#templatePieces(text: string): Generator<string | number> {
    const { specialIds } = this.#tokenizer;
    let plain: number[] = [];
    for (const id of this.#tokenizer.encode(text)) {
      if (!specialIds.has(id)) plain.push(id);
      else {
        yield this.#tokenizer.decode(plain);
        yield id;
        plain = [];
      }
    }
    yield this.#tokenizer.decode(plain);
  }

  #hide(content: string | readonly (string | PicturePlace)[]): string {
    const parts = typeof content === "string"
      ? content.split("<image>").flatMap((text, i) => i === 0 ? [text] : [PICTURE, text])
      : content;
    return parts.map((part) => typeof part === "string" ? this.#escape(part) : this.#keep(part))
      .join("");
  }

  #escape(text: string): string {
    let escaped = "";
    for (let at = 0; at < text.length;) {
      const token = this.#special.find((token) => text.startsWith(token, at));
      escaped += token === undefined ? text[at] : this.#keep(token);
      at += token?.length ?? 1;
    }
    return escaped;
  }

  #keep(part: string | PicturePlace): string {
    return `${this.#mark}${this.#kept.push(part) - 1}${this.#mark}`;
  }
}
