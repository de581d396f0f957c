import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import OpenAI from "openai";
import { OutOfMemoryError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { Answer } from "../serve/answer.ts";
import { Engine, type EngineOptions } from "../serve/engine.ts";
import { App } from "../serve/app.ts";
import type { AppOptions } from "../serve/app_options.ts";
import { ApiError } from "../serve/errors.ts";
import { isAllowed } from "../serve/fetch_picture.ts";
import { inTime } from "../serve/in_time.ts";
import { chatRequest } from "../serve/schema.ts";
import { startServer } from "../serve/server.ts";
import { gpuTest, leakFreeTest } from "./support/gpu.ts";
import { memoryLimit } from "./support/memory_limit.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";
import { PICTURES } from "./support/vlm_data.ts";

interface Served extends AsyncDisposable {
  readonly url: string;
  readonly client: OpenAI;
  readonly engine: Engine;
  readonly app: App;
  readonly stop: () => Promise<void>;
  readonly abort: () => void;
  readonly log: string[];
}

function serve(
  gpu: Gpu,
  options: Partial<AppOptions> = {},
  engineOptions: Partial<EngineOptions> = {},
): Served {
  const model = tinyChatModel(gpu);
  const engine = new Engine(model, { slots: 4, capacity: 300, ...engineOptions });
  const log: string[] = [];
  const app = new App([{ name: "tiny", engine }], { log: (line) => log.push(line), ...options });
  const server = startServer(app, { hostname: "127.0.0.1", port: 0 });
  const client = new OpenAI({
    baseURL: `${server.url}/v1`,
    apiKey: options.apiKey ?? "any",
    maxRetries: 0,
  });
  return {
    url: server.url,
    client,
    engine,
    app,
    log,
    stop: server.stop,
    abort: server.abort,
    async [Symbol.asyncDispose]() {
      await server.stop();
      await engine[Symbol.asyncDispose]();
      model[Symbol.dispose]();
    },
  };
}

const MESSAGES = [{ role: "user" as const, content: "What?" }];
const BASE = { model: "tiny", messages: MESSAGES, max_tokens: 10, temperature: 0 };

async function dataUrl(name: string): Promise<string> {
  const bytes = await Deno.readFile(join(PICTURES, name));
  return `data:image/png;base64,${bytes.toBase64()}`;
}

/** The status and body of an error that a request without the client gets. */
async function post(url: string, body: unknown, headers: HeadersInit = {}) {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const { error } = text.startsWith("{") ? JSON.parse(text) : {};
  return { status: response.status, error, headers: response.headers };
}

leakFreeTest("the client of OpenAI gets models and answers, whole and in pieces", async (gpu) => {
  await using served = serve(gpu);
  const { client } = served;
  const models = await client.models.list();
  assertEquals(models.data.map(({ id }) => id), ["tiny"]);
  assertEquals((await client.models.retrieve("tiny")).object, "model");
  const whole = await client.chat.completions.create(BASE);
  const [choice] = whole.choices;
  assertEquals(choice!.message.role, "assistant");
  assertEquals(choice!.finish_reason, "length");
  assertEquals(whole.usage!.completion_tokens, 10);
  assertEquals(whole.usage!.total_tokens, whole.usage!.prompt_tokens + 10);
  const stream = await client.chat.completions.create({
    ...BASE,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  const finishes = [];
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    finishes.push(...chunk.choices.map(({ finish_reason }) => finish_reason).filter(Boolean));
    usage = chunk.usage ?? usage;
  }
  assertEquals(text, choice!.message.content!);
  assertEquals(finishes, ["length"]);
  assertEquals(usage!.completion_tokens, 10);
  assertEquals(usage!.prompt_tokens_details!.cached_tokens, whole.usage!.prompt_tokens - 1);
  assertEquals(served.log, []);
});

gpuTest("n, seed, stop, penalties and logprobs", async (gpu) => {
  await using served = serve(gpu);
  const { client } = served;
  const ask = async (more: Record<string, unknown>) =>
    (await client.chat.completions.create({ ...BASE, ...more, stream: false })).choices;
  const drawn = { temperature: 1.5, seed: -7, n: 3 };
  const [first, second] = [await ask(drawn), await ask(drawn)];
  const texts = first.map(({ message }) => message.content!);
  assertEquals(second.map(({ message }) => message.content), texts);
  assertEquals(new Set(texts).size, 3);
  assertEquals(first.map(({ index }) => index), [0, 1, 2]);

  const [plain] = await ask({ max_tokens: 20 });
  const stop = [...plain!.message.content!].find((c) => c !== "\ufffd" && c !== " ")!;
  const [stopped] = await ask({ max_tokens: 20, stop });
  assertEquals(stopped!.finish_reason, "stop");
  assertEquals(stopped!.message.content, plain!.message.content!.split(stop)[0]!);

  const [told] = await ask({
    logprobs: true,
    top_logprobs: 2,
    presence_penalty: 2,
    frequency_penalty: 2,
  });
  const content = told!.logprobs!.content!;
  assert(content.length > 0 && content.length <= 10);
  assert(content.every(({ top_logprobs, logprob }) => top_logprobs.length === 2 && logprob <= 0));
  const bytes = content.flatMap(({ bytes }) => bytes!);
  assertEquals(new TextDecoder().decode(Uint8Array.from(bytes)), told!.message.content!);
});

gpuTest("a stream gives characters whole, and with logprobs all tokens", async (gpu) => {
  await using served = serve(gpu);
  const { client, engine } = served;
  const { tokenizer } = engine.model;
  engine.ask = () => {
    const answer = new Answer(tokenizer, { promptTokens: 1, stop: [], cancelled: () => {} });
    for (const id of tokenizer.encode("a🙂é")) answer.push([{ id }]); // bytes
    answer.end("length");
    return answer;
  };
  for (const logprobs of [false, true]) {
    const stream = await client.chat.completions.create({ ...BASE, logprobs, stream: true });
    const choices = (await Array.fromAsync(stream)).flatMap(({ choices }) => choices)
      .slice(1, -1); // without role and end
    assertEquals(choices.map(({ delta }) => delta.content), ["a", "🙂", "é"]);
    const counts = choices.map((choice) => choice.logprobs?.content?.length);
    assertEquals(counts, logprobs ? [1, 4, 2] : [undefined, undefined, undefined]);
  }
});

gpuTest("pictures come as data URLs and as files", async (gpu) => {
  await using served = serve(gpu);
  const { client } = served;
  const [square, tiny] = [await dataUrl("square.png"), await dataUrl("tiny.png")];
  const show = (...urls: string[]) => [{
    role: "user" as const,
    content: [
      ...urls.map((url) => ({ type: "image_url" as const, image_url: { url } })),
      { type: "text" as const, text: "What is this?" },
    ],
  }];
  const ask = async (messages: OpenAI.ChatCompletionMessageParam[]) => {
    const answer = await client.chat.completions.create({ ...BASE, messages, logprobs: true });
    return {
      tokens: answer.usage!.prompt_tokens,
      logprob: answer.choices[0]!.logprobs!.content![0]!.logprob,
      content: answer.choices[0]!.message.content,
    };
  };
  const none = await ask(show());
  const one = await ask(show(square));
  const two = await ask(show(square, tiny));
  const swapped = await ask(show(tiny, square));
  assertEquals([one.tokens - none.tokens, two.tokens - none.tokens], [4 + 1, 2 * (4 + 1)]);
  assert(two.logprob !== swapped.logprob);
  const file = await client.files.create({
    file: new File([await Deno.readFile(join(PICTURES, "square.png"))], "square.png"),
    purpose: "vision",
  });
  assertEquals([file.filename, file.purpose, file.object], ["square.png", "vision", "file"]);
  const byFile = [{
    role: "user" as const,
    content: [
      { type: "file" as const, file: { file_id: file.id } },
      { type: "text" as const, text: "What is this?" },
    ],
  }];
  assertEquals(await ask(byFile), one);
  assertEquals((await client.files.list()).data.length, 1);
  assertEquals(
    await (await client.files.content(file.id)).bytes(),
    await Deno.readFile(join(PICTURES, "square.png")),
  );
  assertEquals((await client.files.delete(file.id)).deleted, true);
  const text = new File(["a list of words"], "words.txt");
  const refused = await client.files.create({ file: text, purpose: "vision" }).catch((e) => e);
  assert(refused instanceof OpenAI.BadRequestError);
  assertEquals([refused.code, refused.param], ["invalid_image", "file"]);
  assert(refused.message.includes("cannot be read"), refused.message);
  assertEquals((await client.files.list()).data, []);
  await assertRejects(() => ask(byFile), OpenAI.NotFoundError);
});

gpuTest("errors are in OpenAI's form and name what is wrong", async (gpu) => {
  await using served = serve(gpu, { maxBodyBytes: 20_000, maxImageBytes: 1000 }, {
    maxPixels: 300,
  });
  const { client, url } = served;
  const fails = async (more: Record<string, unknown>) => {
    const error = await client.chat.completions.create({ ...BASE, ...more }).then(
      () => undefined,
      (error) => error as InstanceType<typeof OpenAI.APIError>,
    );
    return [error?.status, error?.code, error?.param];
  };
  const content = (part: unknown) => ({ messages: [{ role: "user", content: [part] }] });
  const picture = (url: string) => content({ type: "image_url", image_url: { url } });
  const at = "messages.0.content.0";
  assertEquals(await fails({ model: "other" }), [404, "model_not_found", "model"]);
  assertEquals(await fails({ temperature: 3 }), [400, "invalid_value", "temperature"]);
  assertEquals(await fails({ max_tokens: 0 }), [400, "invalid_value", "max_tokens"]);
  assertEquals(await fails({ n: 17 }), [400, "invalid_value", "n"]);
  assertEquals(await fails({ messages: [] }), [400, "invalid_value", "messages"]);
  assertEquals(
    await fails({ messages: [{ role: "wizard", content: "x" }] }),
    [400, "invalid_value", "messages.0.role"],
  );
  assertEquals(await fails({ tools: [{ type: "function" }] }), [400, "invalid_value", "tools"]);
  assertEquals(await fails({ logit_bias: { 3: 1 } }), [400, "invalid_value", "logit_bias"]);
  assertEquals(await fails({ response_format: { type: "json_object" } }), [
    400,
    "invalid_value",
    "response_format",
  ]);
  assertEquals(await fails({ stop: ["a", "b", "c", "d", "e"] }), [400, "invalid_value", "stop"]);
  assertEquals(
    await fails({ messages: [{ role: "user", content: "x".repeat(400) }] }),
    [400, "context_length_exceeded", "messages"],
  );
  assertEquals(
    await fails({ messages: [{ role: "user", content: "x".repeat(21_000) }] }),
    [413, "request_too_large", null],
  );
  assertEquals(await fails(picture("https://example.com/a.png")), [
    400,
    "image_url_not_allowed",
    at,
  ]);
  assertEquals(await fails(picture("file:///etc/passwd")), [400, "invalid_image_url", at]);
  assertEquals(await fails(picture("data:text/html;base64,AAAA")), [400, "invalid_image_url", at]);
  assertEquals(await fails(picture("data:image/png;base64,?")), [400, "invalid_base64", at]);
  assertEquals(await fails(picture("data:image/png;base64,AAAA")), [
    400,
    "invalid_image",
    at,
  ]);
  assertEquals(await fails(picture(await dataUrl("square.png"))), [413, "image_too_large", at]);
  assertEquals(await fails(content({ type: "file", file: { file_id: "file-0" } })), [
    404,
    "file_not_found",
    at,
  ]);
  assertEquals(
    await fails({
      messages: [{
        role: "assistant",
        content: [{ type: "image_url", image_url: { url: await dataUrl("tiny.png") } }],
      }],
    }),
    [400, null, at],
  );
  assertEquals(
    await fails({
      messages: [{
        role: "user",
        content: Array(80).fill({ type: "image_url", image_url: { url: "data:," } }),
      }],
    }),
    [400, "context_length_exceeded", "messages"],
  );
  assertEquals(await fails({}), [undefined, undefined, undefined]);

  assertEquals((await post(url, "{")).status, 400);
  assertEquals((await post(url, "[]")).error.type, "invalid_request_error");
  assertEquals((await post(url, BASE, { "content-type": "text/plain" })).status, 415);
  const missing = await fetch(`${url}/v1/none`);
  assertEquals([missing.status, (await missing.json()).error.type], [404, "invalid_request_error"]);
  const form = new FormData();
  form.append("file", new File([new Uint8Array(2000)], "x"));
  const upload = await fetch(`${url}/v1/files`, { method: "POST", body: form });
  assertEquals([upload.status, (await upload.json()).error.code], [413, "image_too_large"]);
  const noForm = await fetch(`${url}/v1/files`, { method: "POST", body: "x" });
  assertEquals([noForm.status, (await noForm.json()).error.type], [400, "invalid_request_error"]);
  assertEquals(served.log, []);
});

gpuTest("a file for which there is no room is refused", async (gpu) => {
  await using served = serve(gpu, { fileBytes: 0 });
  const file = new File([await Deno.readFile(join(PICTURES, "tiny.png"))], "tiny.png");
  const error = await served.client.files.create({ file, purpose: "vision" }).catch((e) => e);
  assertEquals([error.status, error.code, error.param], [413, "file_too_large", "file"]);
});

gpuTest("when one of several choices fails the others are given up", async (gpu) => {
  await using served = serve(gpu, {}, { slots: 2, capacity: 1000 });
  const { client, engine } = served;
  const { ask } = engine;
  for (const stream of [false, true]) {
    const asked: Answer[] = [];
    engine.ask = (question) => {
      asked.push(ask.call(engine, question));
      if (asked.length === 2) asked[1]!.fail(new OutOfMemoryError("no memory"));
      return asked.at(-1)!;
    };
    const request = { ...BASE, max_tokens: 900, n: 2, stream };
    const error = await client.chat.completions.create(request).then(
      async (answer) => {
        for await (const _ of answer as AsyncIterable<unknown>);
      },
    ).catch((e) => e);
    assertEquals(error.code, "out_of_memory");
    await engine.drain();
    assert(asked[0]!.completionTokens < 900, "it went on");
  }
});

Deno.test("a request whose body does not come is given up", async () => {
  assertEquals(await inTime(Promise.resolve(1), 1000), 1);
  const error = await assertRejects(() => inTime(new Promise(() => {}), 1), ApiError);
  assertEquals(error.status, 408);
});

gpuTest("a picture with too many pixels is refused", async (gpu) => {
  await using served = serve(gpu, {}, { maxPixels: 300 });
  const messages = [{
    role: "user" as const,
    content: [{ type: "image_url" as const, image_url: { url: await dataUrl("square.png") } }],
  }];
  const error = await served.client.chat.completions.create({ ...BASE, messages }).catch((e) => e);
  assertEquals([error.status, error.code], [400, "invalid_image"]);
  assert(/at most 300/.test(error.message), error.message);
});

gpuTest("keys, origins and host names are checked", async (gpu) => {
  await using served = serve(gpu, {
    apiKey: "secret",
    corsOrigins: ["https://friend.example"],
    hostNames: ["127.0.0.1"],
  });
  const { url } = served;
  const auth = { authorization: "Bearer secret" };
  assertEquals((await served.client.chat.completions.create(BASE)).object, "chat.completion");
  for (const authorization of ["", "Bearer wrong", "secret"]) {
    const { status, error } = await post(url, BASE, { authorization });
    assertEquals([status, error.type, error.code], [
      401,
      "authentication_error",
      "invalid_api_key",
    ]);
  }
  const status = async (path: string, init?: RequestInit) => {
    const response = await fetch(`${url}${path}`, init);
    await response.body?.cancel();
    return response.status;
  };
  assertEquals([await status("/v1/models"), await status("/metrics"), await status("/v1/files")], [
    401,
    401,
    401,
  ]);
  assertEquals([await status("/health"), await status("/")], [200, 200]);
  const foreign = await post(url, BASE, { ...auth, origin: "https://evil.example" });
  assertEquals([foreign.status, foreign.error.type], [403, "permission_error"]);
  assertEquals(foreign.headers.get("access-control-allow-origin"), null);
  const friend = await post(url, BASE, { ...auth, origin: "https://friend.example" });
  assertEquals(friend.status, 200);
  assertEquals(friend.headers.get("access-control-allow-origin"), "https://friend.example");
  const asked = "authorization,content-type,x-stainless-lang"; // OpenAI's client tells of itself
  const preflight = await fetch(`${url}/v1/chat/completions`, {
    method: "OPTIONS",
    headers: {
      origin: "https://friend.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": asked,
    },
  });
  assertEquals(preflight.status, 204);
  assertEquals(preflight.headers.get("access-control-allow-headers"), asked);
  const foreignName = await Deno.connect({
    hostname: "127.0.0.1",
    port: Number(new URL(url).port),
  });
  const request = "GET /health HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
  await foreignName.write(new TextEncoder().encode(request));
  const answer = await new Response(foreignName.readable).text();
  assert(answer.startsWith("HTTP/1.1 403"), answer);
});

gpuTest("the queue has an end, and who waits is told", async (gpu) => {
  await using served = serve(gpu, {}, { slots: 1, queue: 1, capacity: 1000 });
  const { client, engine } = served;
  const long = await client.chat.completions.create({ ...BASE, max_tokens: 900, stream: true });
  const waiting = client.chat.completions.create(BASE);
  while (engine.waiting < 1) await new Promise((resolve) => setTimeout(resolve, 1));
  const { status, error, headers } = await post(served.url, BASE);
  assertEquals([status, error.type, error.code], [429, "rate_limit_error", "queue_full"]);
  assertEquals(headers.get("retry-after"), "1");
  long.controller.abort();
  assertEquals((await waiting).choices.length, 1);
  const half = await post(served.url, { ...BASE, n: 3 });
  assertEquals(half.status, 429);
  await engine.drain();
});

leakFreeTest(
  "a question for which memory lacks fails with a sentence, and no other",
  async (gpu) => {
    await using served = serve(gpu);
    const { url, client } = served;
    await client.chat.completions.create(BASE);
    {
      using _limit = memoryLimit(gpu, gpu.memory.live);
      const { status, error, headers } = await post(url, BASE);
      assertEquals([status, error.type, error.code], [503, "server_error", "out_of_memory"]);
      assert(error.message.includes("too little memory"), error.message);
      assertEquals(headers.get("retry-after"), "1");
    }
    assertEquals((await (await fetch(`${url}/health`)).json()).status, "ok");
    assertEquals((await client.chat.completions.create(BASE)).usage!.completion_tokens, 10);
    assert(served.log.length === 1 && served.log[0]!.includes("OutOfMemoryError"), `${served.log}`);
  },
);

gpuTest("a request whose client has left stops", async (gpu) => {
  await using served = serve(gpu, {}, { slots: 2, capacity: 1000 });
  const { engine } = served;
  for (const stream of [true, false]) {
    const drawn = engine.drawnTokens;
    const leave = new AbortController();
    const gone = fetch(`${served.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...BASE, max_tokens: 900, stream }),
      signal: leave.signal,
    }).then((response) => response.text());
    while (engine.running < 1) await new Promise((resolve) => setTimeout(resolve, 1));
    leave.abort();
    await assertRejects(() => gone);
    await engine.drain();
    assert(engine.drawnTokens - drawn < 900, "it went on");
  }
  const metrics = await (await fetch(`${served.url}/metrics`)).text();
  assert(metrics.includes("\nglimpse_cancelled_total 2\n"), metrics);
});

/** A connection that was used once, is kept open, and shows nothing more until it is closed. */
async function idleConnection(url: string): Promise<Deno.Conn> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const request = `GET /health HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`;
  await connection.write(new TextEncoder().encode(request));
  await connection.read(new Uint8Array(10_000));
  return connection;
}

leakFreeTest(
  "stopping finishes what was asked, says so meanwhile, and takes no more",
  async (gpu) => {
    await using served = serve(gpu, {}, { slots: 1, capacity: 1000 });
    const { client, url } = served;
    using idle = await idleConnection(url);
    const stream = await client.chat.completions.create({ ...BASE, max_tokens: 900, stream: true });
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    const waits = client.chat.completions.create(BASE);
    while (served.engine.waiting < 1) await new Promise((resolve) => setTimeout(resolve, 1));
    const stopped = served.stop();
    const health = await fetch(`${url}/health`);
    assertEquals([health.status, (await health.json()).status], [503, "stopping"]);
    const { status, error, headers } = await post(url, BASE);
    assertEquals([status, error.type, error.code], [503, "server_error", "stopping"]);
    assertEquals(headers.get("retry-after"), "5");
    let finish;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      finish = next.value.choices[0]?.finish_reason ?? finish;
    }
    assertEquals(finish, "length");
    assertEquals((await waits).usage!.completion_tokens, 10);
    await stopped;
    assertEquals(
      await idle.read(new Uint8Array(1)),
      null,
      "a connection without a request is closed",
    );
    await assertRejects(() => fetch(`${url}/health`));
    assertEquals(served.log, []);
  },
);

leakFreeTest("a server is stopped at once while it finishes what runs", async (gpu) => {
  await using served = serve(gpu, {}, { slots: 1, capacity: 1000 });
  const { client, engine } = served;
  const stream = await client.chat.completions.create({ ...BASE, max_tokens: 900, stream: true });
  const iterator = stream[Symbol.asyncIterator]();
  await iterator.next();
  const stopped = served.stop();
  served.abort();
  await stopped;
  await assertRejects(async () => {
    while (!(await iterator.next()).done);
  });
  await engine.drain();
  assert(engine.drawnTokens < 900, "it was answered to the end");
});

leakFreeTest("200 clients at once, half of whom leave", async (gpu) => {
  await using served = serve(gpu, {}, { slots: 8, queue: 256, capacity: 200 });
  const { client, engine } = served;
  const prompt = (i: number) => ({
    ...BASE,
    max_tokens: 12,
    messages: [{ role: "user" as const, content: `Number ${i % 10}` }],
  });
  const alone: (string | null)[] = [];
  for (let i = 0; i < 10; i++) {
    alone.push((await client.chat.completions.create(prompt(i))).choices[0]!.message.content);
  }
  const live = gpu.memory.live;
  const clients = Array.from({ length: 200 }, async (_, i) => {
    if (i % 2 === 0) {
      const answer = await client.chat.completions.create(prompt(i));
      return answer.choices[0]!.message.content === alone[i % 10] ? "right" : "wrong";
    }
    const leave = new AbortController();
    setTimeout(() => leave.abort(), i * 2);
    try {
      const request = { ...prompt(i), max_tokens: 150, stream: true as const };
      for await (
        const _ of await client.chat.completions.create(request, { signal: leave.signal })
      );
      return "ended";
    } catch {
      return "left";
    }
  });
  const outcomes = await Promise.all(clients);
  assertEquals(outcomes.filter((outcome) => outcome === "right").length, 100);
  assert(outcomes.includes("left"), "nobody left");
  await engine.drain();
  assertEquals([engine.running, engine.waiting], [0, 0]);
  assertEquals(gpu.memory.live, live, "bytes left in use by requests");
  assertEquals(served.log, []);
});

Deno.test("what is wrong with a request is said in a sentence", () => {
  const messages = [{ role: "user", content: "hi" }];
  const faults: [unknown, string][] = [
    [null, "The request must be an object, not null."],
    [{ messages }, "model is missing."],
    [{ model: 5, messages }, "model must be a text, not 5."],
    [{ model: "m", messages: [] }, "messages must have at least 1 entries, not 0."],
    [{ model: "m", messages: [{ role: "user" }] }, "messages.0.content is missing."],
    [
      { model: "m", messages: [{ role: "robot", content: "hi" }] },
      'messages.0.role must be system or developer or user or assistant, not "robot".',
    ],
    [
      { model: "m", messages: [{ role: "user", content: 5 }] },
      "messages.0.content must be a text, or a list of parts of type text, image_url or file.",
    ],
    [{ model: "m", messages, n: 0 }, "n must be at least 1, not 0."],
    [{ model: "m", messages, top_p: 2 }, "top_p must be at most 1, not 2."],
    [{ model: "m", messages, seed: 1.5 }, "seed must be a whole number, not 1.5."],
    [{ model: "m", messages, stop: [1] }, "stop must be up to 4 texts."],
    [{ model: "m", messages, tools: [{}] }, "tools is not supported."],
    [{ model: "m", messages, top_logprobs: 2 }, "top_logprobs needs logprobs: true."],
    [
      { model: "m", messages, top_logprobs: 2, logprobs: false },
      "top_logprobs needs logprobs: true.",
    ],
    [{ model: "m", messages, stream: "yes" }, 'stream must be true or false, not "yes".'],
  ];
  for (const [request, sentence] of faults) {
    const error = assertThrows(() => chatRequest(request), ApiError);
    assertEquals(error.message, sentence);
  }
  for (const more of [{ top_logprobs: 2, logprobs: true }, { top_logprobs: 0 }]) {
    assertEquals(chatRequest({ model: "m", messages, ...more }).top_logprobs, more.top_logprobs);
  }
});

Deno.test("pictures are fetched from named hosts only", () => {
  const allowed = (url: string, ...hosts: string[]) => isAllowed(new URL(url), hosts);
  assertEquals(allowed("https://a.example/x.png"), false);
  assertEquals(allowed("https://a.example/x.png", "a.example"), true);
  assertEquals(allowed("https://b.a.example/x.png", "a.example"), false);
  assertEquals(allowed("https://b.a.example/x.png", "*.a.example"), true);
  assertEquals(allowed("https://ba.example/x.png", "*.a.example"), false);
  assertEquals(allowed("https://a.example/x.png", "*"), true);
  for (
    const host of [
      "localhost",
      "localhost.",
      "127.0.0.1",
      "[::1]",
      "0x7f.1",
      "a.localhost",
      "db.internal",
      "10.0.0.1",
    ]
  ) {
    assertEquals(allowed(`http://${host}/`, "*"), false, host);
  }
  assertEquals(allowed("ftp://a.example/", "*"), false);
});

gpuTest("pictures are fetched, up to a size, and only as far as is allowed", async (gpu) => {
  const picture = await Deno.readFile(join(PICTURES, "square.png"));
  const host = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/a.png") return new Response(picture);
    if (pathname === "/large") return new Response(new Uint8Array(100_000));
    if (pathname === "/on") return Response.redirect(new URL("/a.png", request.url));
    if (pathname === "/away") return Response.redirect("http://localhost:1/");
    if (pathname === "/round") return Response.redirect(request.url);
    return new Response(null, { status: 404 });
  });
  await using served = serve(gpu, { imageHosts: ["127.0.0.1"], maxImageBytes: 50_000 });
  const ask = async (path: string) => {
    const url = `http://127.0.0.1:${host.addr.port}${path}`;
    const messages = [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }];
    const { status, error } = await post(served.url, { ...BASE, messages });
    return [status, error?.code];
  };
  assertEquals(await ask("/a.png"), [200, undefined]);
  assertEquals(await ask("/on"), [200, undefined]);
  assertEquals(await ask("/large"), [413, "image_too_large"]);
  assertEquals(await ask("/away"), [400, "image_url_not_allowed"]);
  assertEquals(await ask("/round"), [400, "image_fetch_failed"]);
  assertEquals(await ask("/none"), [400, "image_fetch_failed"]);
  await host.shutdown();
});
