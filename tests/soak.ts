/**
 * Many requests, some of which break off, and what memory they leave behind: `deno task soak [REQUESTS]`.
 *
 * It fails when the device's memory in use, or the process's, grows with the number of requests.
 */

import { Gpu } from "../kernels/runtime/gpu.ts";
import { App } from "../serve/app.ts";
import { Engine } from "../serve/engine.ts";
import { startServer } from "../serve/server.ts";
import { tinyChatModel } from "./support/tiny_chat_model.ts";

const requests = Number(Deno.args[0] ?? 10_000);
const AT_ONCE = 50;

using gpu = await Gpu.open();
using model = tinyChatModel(gpu);
await using engine = new Engine(model, { slots: 16, queue: 100, capacity: 128 });
const app = new App([{ name: "tiny", engine }]);
const server = startServer(app, { hostname: "127.0.0.1", port: 0 });
const picture = await Deno.readFile(new URL("fixtures/pictures/tiny.png", import.meta.url));
const url = `data:image/png;base64,${picture.toBase64()}`;

/** One request of a kind that follows from its number; every third client leaves. */
async function ask(i: number): Promise<void> {
  const text = { type: "text", text: `Number ${i % 100}` };
  const content = i % 4 === 0 ? [{ type: "image_url", image_url: { url } }, text] : [text];
  const body = JSON.stringify({
    model: "tiny",
    messages: [{ role: "user", content }],
    max_tokens: 4 + i % 16,
    stream: i % 2 === 0,
    logprobs: i % 8 === 1,
    presence_penalty: i % 8 === 2 ? 1 : 0,
  });
  const leave = new AbortController();
  const timer = i % 3 === 0 ? setTimeout(() => leave.abort(), i % 200) : undefined;
  try {
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: leave.signal,
    });
    await response.text();
    if (!response.ok) throw new Error(`request ${i}: status ${response.status}`);
  } catch (error) {
    if (!leave.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Bytes in use on the device, and those of the process. */
async function measured(): Promise<[device: number, process: number]> {
  await engine.drain();
  return [gpu.memory.live, Deno.memoryUsage().rss];
}

let next = 0;
async function asked(until: number): Promise<void> {
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (next < until) await ask(next++);
  }));
}

await asked(Math.ceil(requests / 4));
const early = await measured();
console.log(`${next} requests: ${early} bytes on the device and in the process`);
await asked(requests);
const late = await measured();
console.log(`${next} requests: ${late} bytes on the device and in the process`);
await server.stop();
if (late[0] !== early[0]) throw new Error("Bytes stay in use on the device.");
if (late[1] > early[1] * 1.5 + 64e6) throw new Error("The process grows with the requests.");
