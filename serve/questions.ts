import { DataError } from "../kernels/runtime/errors.ts";
import { PICTURE, type PicturePlace, type Turn } from "../model/prompt.ts";
import { Random } from "../model/random.ts";
import type { Engine, Question } from "./engine.ts";
import { ApiError } from "./errors.ts";
import type { Picture } from "./picture_store.ts";
import { pictureFile, type PictureSources } from "./pictures.ts";
import type { ChatRequest, RequestMessage } from "./schema.ts";

/** How answers are generated where a request does not say. */
export interface AnswerDefaults {
  /** How much chance there is. */
  readonly temperature: number;
  /** Only the likeliest tokens with this probability together. */
  readonly topP: number;
  /** Only this many of the likeliest tokens; 0 for all. */
  readonly topK: number;
  /** Tokens of an answer at most. */
  readonly maxTokens: number;
}

/**
 * The questions that a request asks: one for each of its `n` choices.
 *
 * @throws {ApiError} when a picture cannot be had.
 */
export async function questionsOf(
  request: ChatRequest,
  engine: Engine,
  sources: PictureSources,
  defaults: AnswerDefaults,
  signal: AbortSignal,
): Promise<Question[]> {
  const { turns, pictures } = await conversation(request.messages, engine, sources, signal);
  const { seed, stop } = request;
  const question: Question = {
    turns,
    pictures,
    temperature: request.temperature ?? defaults.temperature,
    topP: request.top_p ?? defaults.topP,
    topK: request.top_k ?? defaults.topK,
    minP: request.min_p ?? 0,
    repetitionPenalty: request.repetition_penalty ?? 1,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    maxNewTokens: request.max_completion_tokens ?? request.max_tokens ?? defaults.maxTokens,
    stop: typeof stop === "string" ? [stop] : stop ?? [],
    ...(request.logprobs && { topLogprobs: request.top_logprobs ?? 0 }),
  };
  return Array.from({ length: request.n ?? 1 }, (_, choice) => ({
    ...question,
    ...(typeof seed === "number" && { seed: choiceSeed(seed, choice) }),
  }));
}

/** The seed of a choice: the request's for the first, others for the others. */
function choiceSeed(seed: number, choice: number): number {
  const first = seed >= 0 ? seed : Number.MAX_SAFE_INTEGER + seed;
  return choice === 0 ? first : new Random(first).fork(choice).uint32();
}

async function conversation(
  messages: readonly RequestMessage[],
  engine: Engine,
  sources: PictureSources,
  signal: AbortSignal,
): Promise<{ turns: Turn[]; pictures: Picture[] }> {
  const parts = messages.flatMap(({ content }) => typeof content === "string" ? [] : content ?? []);
  const count = parts.filter(({ type }) => type !== "text").length;
  const { capacity } = engine.options;
  const each = engine.model.vlm.tokensPerPicture;
  if (count * each >= capacity) {
    throw new ApiError(
      400,
      `${count} pictures of ${each} tokens do not fit; there is room for ${capacity} tokens.`,
      { param: "messages", code: "context_length_exceeded" },
    );
  }
  const pictures: Picture[] = [];
  const turns: Turn[] = [];
  for (const [i, { role, content }] of messages.entries()) {
    const shown: (string | PicturePlace)[] = [];
    const parts = typeof content === "string"
      ? [{ type: "text", text: content } as const]
      : content;
    for (const [j, part] of (parts ?? []).entries()) {
      if (j > 0) shown.push("\n");
      if (part.type === "text") shown.push(part.text);
      else {
        const param = `messages.${i}.content.${j}`;
        if (role !== "user") {
          throw new ApiError(400, `Only users show pictures, not the role ${role}.`, { param });
        }
        const file = await pictureFile(part, param, sources, signal);
        pictures.push(await preparedPicture(engine, file, param));
        shown.push(PICTURE);
      }
    }
    turns.push({ role: role === "developer" ? "system" : role, content: shown });
  }
  return { turns, pictures };
}

/**
 * A picture as an engine's model sees it.
 *
 * @param param What a client called it, for the error.
 * @throws {ApiError} when it cannot be read.
 */
export async function preparedPicture(
  engine: Engine,
  file: Uint8Array<ArrayBuffer>,
  param: string,
): Promise<Picture> {
  try {
    return await engine.pictures.prepare(file);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new ApiError(400, error.message, { param, code: "invalid_image" });
  }
}
