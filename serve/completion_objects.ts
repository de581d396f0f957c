import type { DrawnToken } from "../model/sequence.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Answer, Finish, Piece } from "./answer.ts";

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
