/** A conversation to the ids that a model trains on, and which of them it is asked for. */

import { DataError, UsageError } from "../kernels/runtime/errors.ts";
import { isRecord } from "./strict_json.ts";
import type { ChatTemplate } from "./chat_template.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How conversations become ids. */
export interface ConversationOptions {
  /** The most ids that are kept: `max_seq_len`. */
  maxLength: number;
  /** What stands for one picture in the model's input: `@` or `<|image_pad|>`, 196 times. */
  imagePlaceholder: string;
  /** What stands for a picture in the data. Default `<image>`. */
  imageToken?: string;
  /** What comes before an answer. Default `<|im_start|>assistant`. */
  answerStart?: string;
  /** What ends an answer. Default `<|im_end|>`. */
  answerEnd?: string;
}

/** One conversation, not padded. */
export interface EncodedConversation {
  /**
   * Token ids, at most `maxLength`. Where an answer ends on the last one, a padding id follows if
   * there is room: the original's mask has it too.
   */
  ids: Uint32Array;
  /** As long as `ids`: 1 at each token that the model has to predict, from those before it. */
  mask: Uint8Array;
  /** Whether the conversation was longer than `maxLength`. */
  truncated: boolean;
  /** The pictures' places in `ids` that are whole. */
  images: number;
  /** The pictures' places that truncation cut off, in part or altogether. */
  cutImages: number;
}

/**
 * Encodes a conversation as MiniMind-V's dataset does. Padded with `padId` to `maxLength` and
 * shifted by one, ids and mask are the original's input, labels and loss mask.
 *
 * Turns are by user and assistant in alternation, whatever role they name. The mask begins with the
 * second token after `<|im_start|>assistant` (the first is the line break) and ends one token after
 * `<|im_end|>`.
 *
 * @param tokenizer encodes the text; special tokens in it are read as such
 * @param template writes the turns as one text
 * @param conversations the `conversations` of a row: objects with a text in `content`
 * @param options see {@linkcode ConversationOptions}
 * @throws DataError where the conversations are not that, UsageError for a length below 1
 */
export function encodeConversation(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  conversations: unknown,
  options: ConversationOptions,
): EncodedConversation {
  const { maxLength, imagePlaceholder, imageToken = "<image>" } = options;
  const { answerStart = "<|im_start|>assistant", answerEnd = "<|im_end|>" } = options;
  if (!Number.isInteger(maxLength) || maxLength < 1) {
    throw new UsageError(`The maximal length is ${maxLength}; it must be a whole number above 0.`);
  }
  const contents = turnContents(conversations);
  const messages = contents.map((content, turn) => ({
    role: turn % 2 === 0 ? "user" : "assistant",
    content: content.replaceAll(imageToken, () => imagePlaceholder),
  }));
  const all = tokenizer.encode(template.render(messages));
  const kept = all.slice(0, maxLength);
  const padded = [...kept, ...new Array(maxLength - kept.length).fill(tokenizer.padId)];
  const mask = answerMask(padded, tokenizer.encode(answerStart), tokenizer.encode(answerEnd));
  const length = Math.max(kept.length, mask.lastIndexOf(1) + 1);
  const placeholder = tokenizer.encode(imagePlaceholder);
  const images = countRuns(kept, placeholder);
  return {
    ids: Uint32Array.from(padded.slice(0, length)),
    mask: mask.slice(0, length),
    truncated: all.length > maxLength,
    images,
    cutImages: countRuns(all, placeholder) - images,
  };
}

function turnContents(conversations: unknown): string[] {
  if (!Array.isArray(conversations) || conversations.length === 0) {
    throw new DataError("The row has no conversations, or they are not a list.");
  }
  return conversations.map((turn, i) => {
    if (isRecord(turn) && typeof turn.content === "string") return turn.content;
    throw new DataError(`Turn ${i + 1} of the conversation has no text in "content".`);
  });
}

/** 1 at the ids that belong to answers; to the end after an answer that has none. */
function answerMask(
  ids: readonly number[],
  start: readonly number[],
  end: readonly number[],
): Uint8Array {
  const mask = new Uint8Array(ids.length);
  for (let i = indexOfRun(ids, start, 0); i >= 0;) {
    const begin = i + start.length;
    const stop = indexOfRun(ids, end, begin);
    mask.fill(1, begin + 1, stop < 0 ? ids.length : stop + end.length + 1);
    i = stop < 0 ? -1 : indexOfRun(ids, start, stop + end.length);
  }
  return mask;
}

/** The first place, from `from` on, where `run` stands in `ids`; −1 where it does not. */
function indexOfRun(ids: readonly number[], run: readonly number[], from: number): number {
  for (let i = from; run.length > 0 && i + run.length <= ids.length; i++) {
    if (run.every((id, j) => ids[i + j] === id)) return i;
  }
  return -1;
}

/** How often `run` stands in `ids`, without overlap. */
function countRuns(ids: readonly number[], run: readonly number[]): number {
  let count = 0;
  for (let i = indexOfRun(ids, run, 0); i >= 0; i = indexOfRun(ids, run, i + run.length)) count++;
  return count;
}
