import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import type { Answer, Piece } from "./answer.ts";
import type { AppOptions } from "./app_options.ts";
import {
  choiceObject,
  chunkObject,
  deltaObject,
  logprobsObject,
  responseHead,
  usageOf,
} from "./completion_objects.ts";
import type { Engine } from "./engine.ts";
import { ApiError, asApiError, queueFull } from "./errors.ts";
import type { FileStore } from "./files.ts";
import { inTime } from "./in_time.ts";
import { questionsOf } from "./questions.ts";
import { type ChatRequest, chatRequest } from "./schema.ts";
import type { ServerMetrics } from "./server_metrics.ts";

/** The model under a name. */
export function engineOf(models: ReadonlyMap<string, Engine>, name: string): Engine {
  const engine = models.get(name);
  if (engine) return engine;
  const names = [...models.keys()].join(", ");
  throw new ApiError(404, `There is no model ${JSON.stringify(name)}; there is ${names}.`, {
    param: "model",
    code: "model_not_found",
  });
}

/** What a request asked, and the answers that come. */
interface Asked {
  readonly request: ChatRequest;
  readonly engine: Engine;
  readonly answers: readonly Answer[];
  /** The answers' pieces, which are counted as they pass. */
  readonly shown: readonly AsyncIterable<Piece>[];
}

/** `POST /v1/chat/completions`. */
export class ChatRoute {
  readonly #models: ReadonlyMap<string, Engine>;
  readonly #files: FileStore;
  readonly #options: AppOptions;
  readonly #metrics: ServerMetrics;
  /** Requests whose conversation is being received or prepared. */
  #preparing = 0;

  /** The route to some models. */
  constructor(
    models: ReadonlyMap<string, Engine>,
    files: FileStore,
    options: AppOptions,
    metrics: ServerMetrics,
  ) {
    this.#models = models;
    this.#files = files;
    this.#options = options;
    this.#metrics = metrics;
  }

  /** Answers a request, at once or piece by piece. */
  async answer(c: Context): Promise<Response> {
    const start = performance.now();
    const { signal } = c.req.raw;
    const { request, engine, answers } = await this.#ask(c.req.raw);
    for (const answer of answers) this.#metrics.promptTokens.add(answer.promptTokens);
    const shown = answers.map((answer) => this.#counted(answer, start));
    const asked = { request, engine, answers, shown };
    const cancel = (): void => answers.forEach((answer) => answer.cancel());
    signal.addEventListener("abort", cancel);
    if (signal.aborted) cancel();
    if (request.stream) return this.#stream(c, asked);
    try {
      return c.json(await whole(asked));
    } finally {
      cancel(); // when one has failed, nobody wants the others
    }
  }

  /** Reads a request and asks what it asks. */
  async #ask(raw: Request): Promise<Omit<Asked, "shown">> {
    const engines = [...this.#models.values()];
    const most = engines.reduce((sum, { options }) => sum + options.slots + options.queue, 0);
    if (this.#preparing >= most) throw queueFull();
    this.#preparing++;
    try {
      const request = chatRequest(await readJson(raw));
      const engine = engineOf(this.#models, request.model);
      if (engine.isFull) throw queueFull();
      const { imageHosts: hosts, maxImageBytes: maxBytes, defaults } = this.#options;
      const sources = { files: this.#files, hosts, maxBytes };
      const questions = await questionsOf(request, engine, sources, defaults, raw.signal);
      const answers: Answer[] = [];
      try {
        for (const question of questions) answers.push(engine.ask(question));
      } catch (error) {
        for (const answer of answers) answer.cancel();
        throw error;
      }
      return { request, engine, answers };
    } finally {
      this.#preparing--;
    }
  }

  /** The pieces of an answer, with what they take counted. */
  async *#counted(answer: Answer, start: number): AsyncGenerator<Piece, void, void> {
    const { firstToken, seconds, completionTokens, cancelled } = this.#metrics;
    let isFirst = true;
    try {
      for await (const piece of answer) {
        if (isFirst) firstToken.observe((performance.now() - start) / 1000);
        isFirst = false;
        yield piece;
      }
    } finally {
      seconds.observe((performance.now() - start) / 1000);
      completionTokens.add(answer.completionTokens);
      if (answer.finish === undefined || answer.finish === "cancelled") cancelled.add();
    }
  }

  #stream(c: Context, { request, engine, answers, shown }: Asked): Response {
    const { model, logprobs, stream_options } = request;
    const head = responseHead(model);
    const { tokenizer } = engine.model;
    c.header("x-accel-buffering", "no");
    return streamSSE(c, async (stream) => {
      const cancel = (): void => answers.forEach((answer) => answer.cancel());
      stream.onAbort(cancel);
      const send = async (data: unknown): Promise<void> =>
        await stream.writeSSE({ data: JSON.stringify(data) });
      try {
        await Promise.all(shown.map(async (pieces, i) => {
          const say = async (...delta: Parameters<typeof deltaObject>): Promise<void> =>
            await send(chunkObject(head, [deltaObject(...delta)]));
          await say(i, { role: "assistant", content: "" });
          for await (const { text, tokens } of pieces) {
            if (text === "" && !logprobs) continue;
            await say(
              i,
              { content: text },
              null,
              logprobs ? logprobsObject(tokens, tokenizer) : null,
            );
          }
          const { finish } = answers[i]!;
          if (finish !== "cancelled") await say(i, {}, finish);
        }));
        if (stream_options?.include_usage) {
          await send({ ...chunkObject(head, []), usage: usageOf(answers) });
        }
      } catch (error) {
        const known = asApiError(error);
        if (known.status >= 500) this.#options.log(String(error));
        await send(known.body);
      } finally {
        cancel();
      }
      await stream.writeSSE({ data: "[DONE]" });
    });
  }
}

async function whole({ request, engine, answers, shown }: Asked): Promise<Record<string, unknown>> {
  const { tokenizer } = engine.model;
  const choices = await Promise.all(shown.map(async (pieces, i) => {
    const all = await Array.fromAsync(pieces);
    return choiceObject(i, all, answers[i]!.finish, request.logprobs ?? false, tokenizer);
  }));
  const head = responseHead(request.model);
  const usage = usageOf(answers);
  return { ...head, object: "chat.completion", system_fingerprint: null, choices, usage };
}

/** JSON of a request. */
async function readJson(request: Request): Promise<unknown> {
  // other types may be sent by a foreign page without asking
  if (!/^application\/json\b/i.test(request.headers.get("content-type") ?? "")) {
    throw new ApiError(415, "The content type must be application/json.");
  }
  try {
    return await inTime(request.json());
  } catch (error) {
    if (error instanceof ApiError) throw error;
    const why = error instanceof SyntaxError ? "is not JSON" : "broke off";
    throw new ApiError(400, `The request ${why}.`);
  }
}
