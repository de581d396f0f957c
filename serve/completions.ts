import { DataError } from "../kernels/runtime/errors.ts";
import { PICTURE, type PicturePlace, type Turn } from "../model/prompt.ts";
import { Random } from "../model/random.ts";
import type { DrawnToken } from "../model/sequence.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Answer, Finish, Piece } from "./answer.ts";
import type { Engine, Picture, Question } from "./engine.ts";
import { ApiError } from "./errors.ts";
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
        pictures.push(await prepared(engine, file, param));
        shown.push(PICTURE);
      }
    }
    turns.push({ role: role === "developer" ? "system" : role, content: shown });
  }
  return { turns, pictures };
}

async function prepared(
  engine: Engine,
  file: Uint8Array<ArrayBuffer>,
  param: string,
): Promise<Picture> {
  try {
    return await engine.preparePicture(file);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new ApiError(400, error.message, { param, code: "invalid_image" });
  }
}

/** What all parts of a response have in common. */
export interface ResponseHead {
  /** Its name. */
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  /** The model's name. */
  readonly model: string;
}

/** The head of a new response. */
export function responseHead(model: string): ResponseHead {
  return {
    id: `chatcmpl-${crypto.randomUUID().replaceAll("-", "")}`,
    created: Math.floor(Date.now() / 1000),
    model,
  };
}

/** Tokens that a request took. */
export interface Usage {
  /** Tokens of the conversation. */
  readonly prompt_tokens: number;
  /** Tokens of all answers. */
  readonly completion_tokens: number;
  /** Both together. */
  readonly total_tokens: number;
  /** Of the conversation's: those that did not need to be read again. */
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** What answers to the same conversation took together. */
export function usageOf(answers: readonly Answer[]): Usage {
  const prompt_tokens = answers[0]?.promptTokens ?? 0;
  const completion_tokens = answers.reduce((sum, answer) => sum + answer.completionTokens, 0);
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    prompt_tokens_details: { cached_tokens: answers[0]?.cachedTokens ?? 0 },
  };
}

/** A whole answer, as an element of `choices`. */
export function choiceObject(
  index: number,
  pieces: readonly Piece[],
  finish: Finish | undefined,
  logprobs: boolean,
  tokenizer: Tokenizer,
): Record<string, unknown> {
  const content = pieces.map(({ text }) => text).join("");
  return {
    index,
    message: { role: "assistant", content, refusal: null },
    logprobs: logprobs ? logprobsObject(pieces.flatMap(({ tokens }) => tokens), tokenizer) : null,
    finish_reason: finish ?? null,
  };
}

/** A part of a streamed response. */
export function chunkObject(
  head: ResponseHead,
  choices: readonly Record<string, unknown>[],
): Record<string, unknown> {
  return { ...head, object: "chat.completion.chunk", system_fingerprint: null, choices };
}

/** A part of an answer, as an element of a chunk's `choices`. */
export function deltaObject(
  index: number,
  delta: Record<string, unknown>,
  finish: Finish | null = null,
  logprobs: Record<string, unknown> | null = null,
): Record<string, unknown> {
  return { index, delta, logprobs, finish_reason: finish };
}

/** The `logprobs` of tokens. */
export function logprobsObject(
  tokens: readonly DrawnToken[],
  tokenizer: Tokenizer,
): Record<string, unknown> {
  const named = (id: number, logprob: number) => ({
    token: tokenizer.decode([id]),
    logprob: Math.max(logprob, -9999),
    bytes: [...tokenizer.bytesOf(id)],
  });
  return {
    content: tokens.map(({ id, logprob = 0, top = [] }) => ({
      ...named(id, logprob),
      top_logprobs: top.map(({ id, logprob }) => named(id, logprob)),
    })),
    refusal: null,
  };
}
