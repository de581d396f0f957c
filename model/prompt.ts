import { ShapeError } from "../kernels/runtime/errors.ts";
import type { ChatMessage, ChatTemplate } from "./chat_template.ts";
import { findRuns, imagePlaceholder } from "./placeholders.ts";
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

/**
 * Turns a conversation into the ids that an answer continues.
 *
 * @param tokenizer Encodes the text.
 * @param template Writes the turns as one text.
 * @param messages The turns, with `<image>` where a picture stands.
 * @param tokensPerPicture Rows that a picture takes.
 * @throws {ShapeError} when the placeholder is not one token each time.
 */
export function encodePrompt(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  tokensPerPicture: number,
): Prompt {
  const placeholder = imagePlaceholder(tokenizer).repeat(tokensPerPicture);
  const run = tokenizer.encode(placeholder);
  if (run.length !== tokensPerPicture) {
    throw new ShapeError(
      `This tokenizer makes ${run.length} tokens of a picture's ${tokensPerPicture} placeholders; it is not this model's.`,
    );
  }
  const filled = messages.map((message) => ({
    ...message,
    content: String(message.content ?? "").replaceAll("<image>", () => placeholder),
  }));
  const ids = tokenizer.encode(template.render(filled, { addGenerationPrompt: true }));
  const starts = findRuns(ids, run);
  return {
    ids: Uint32Array.from(ids),
    imageRows: Uint32Array.from(
      starts.flatMap((start) => Array.from({ length: tokensPerPicture }, (_, i) => start + i)),
    ),
    pictureCount: starts.length,
  };
}
