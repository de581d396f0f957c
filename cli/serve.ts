/** `deno task serve`: answers questions about pictures over HTTP, and on a page. */

import { basename } from "@std/path";
import { openGpu } from "../data/open_gpu.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { App } from "../serve/app.ts";
import type { ServedModel } from "../serve/app_options.ts";
import { Engine } from "../serve/engine.ts";
import { type Server, startServer } from "../serve/server.ts";
import { loadChosen, modelOptions, SAMPLING } from "./model_options.ts";
import { integer, list, number, text } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";
import { STOP_SIGNALS } from "./signals.ts";

const SERVER = "Server";
const LIMITS = "Limits";
const ANSWER = "Answers, where a request does not say";

/** The options of `serve`. */
export const options = {
  ...modelOptions,
  weight: list({
    section: "Model",
    help:
      "Names of the weights, to which size and ending are added; several are served side by side.",
    default: ["sft_vlm"],
    placeholder: "NAME,…",
  }),
  host: text({
    section: SERVER,
    help: "Address to listen at; 0.0.0.0 for every one of this machine.",
    default: "127.0.0.1",
    placeholder: "ADDRESS",
  }),
  port: integer({
    section: SERVER,
    help: "Port; 0 for any free one.",
    default: 8000,
    min: 0,
    max: 65535,
  }),
  host_names: list({
    section: SERVER,
    help: "Names under which it is reached through a proxy.",
    defaultText: "this machine's own at a local address, else any",
    default: [],
    placeholder: "NAME,…",
  }),
  cors: list({
    section: SERVER,
    help: "Origins of other pages that may use it, or * for all.",
    default: [],
    placeholder: "ORIGIN,…",
  }),
  image_hosts: list({
    section: SERVER,
    help: "Hosts from which pictures are fetched by URL (*.example.com, or * for all).",
    default: [],
    placeholder: "HOST,…",
  }),
  slots: integer({
    section: LIMITS,
    help: "Answers generated at the same time.",
    default: 8,
    min: 1,
    max: 256,
  }),
  context: integer({
    section: LIMITS,
    help: "Tokens of a conversation at most, answer included.",
    default: 2048,
    min: 16,
  }),
  cache_tokens: integer({
    section: LIMITS,
    help: "Tokens of all conversations together for which memory is taken.",
    defaultText: "slots × context",
    min: 16,
  }),
  queue: integer({
    section: LIMITS,
    help: "Questions that may wait; more are refused.",
    default: 64,
    min: 0,
  }),
  max_body_mb: number({
    section: LIMITS,
    help: "Megabytes of a request at most.",
    default: 32,
    min: 0.001,
  }),
  max_image_mb: number({
    section: LIMITS,
    help: "Megabytes of a picture's file at most.",
    default: 16,
    min: 0.001,
  }),
  max_megapixels: number({
    section: LIMITS,
    help: "Million pixels of a picture at most.",
    default: 64,
    min: 0.001,
  }),
  files_mb: number({
    section: LIMITS,
    help: "Megabytes of uploaded files that are kept.",
    default: 256,
    min: 0,
  }),
  max_new_tokens: integer({ section: ANSWER, help: "Tokens at most.", default: 512, min: 1 }),
  temperature: number({
    section: ANSWER,
    help: "How much chance there is.",
    default: 0.65,
    min: 0,
    max: 2,
  }),
  top_p: { ...SAMPLING.top_p, section: ANSWER },
  top_k: { ...SAMPLING.top_k, section: ANSWER },
};

const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/** Serves until it is told to stop. */
export async function run(args: readonly string[]): Promise<number> {
  const o = parseOptions(options, args);
  if (o.weight.length === 0) throw new UsageError("--weight names no weights.");
  const twice = o.weight.find((name, i) => o.weight.indexOf(name) < i);
  if (twice !== undefined) throw new UsageError(`--weight names ${twice} twice.`);
  await requireNetwork("host", [o.host]);
  await requireNetwork("image_hosts", o.image_hosts);
  const apiKey = Deno.env.get("GLIMPSE_API_KEY") || undefined;
  using stack = new DisposableStack();
  const gpu = stack.use(await openGpu(o.device));
  const models: ServedModel[] = [];
  for (const weight of o.weight) {
    const model = stack.use(await loadChosen(gpu, { ...o, weight }));
    const engine = new Engine(model, {
      slots: o.slots,
      capacity: o.context,
      queue: o.queue,
      cacheTokens: o.cache_tokens,
      maxPixels: o.max_megapixels * 1e6,
    });
    models.push({ name: o.load_from === "model" ? weight : basename(o.load_from), engine });
  }
  const isLocal = o.host === "127.0.0.1" || o.host === "::1" || o.host === "localhost";
  const app = new App(models, {
    apiKey,
    corsOrigins: o.cors,
    imageHosts: o.image_hosts,
    hostNames: isLocal
      ? [...LOOPBACK, ...o.host_names]
      : o.host_names.length > 0
      ? o.host_names
      : undefined,
    maxBodyBytes: Math.round(o.max_body_mb * 1e6),
    maxImageBytes: Math.round(o.max_image_mb * 1e6),
    fileBytes: Math.round(o.files_mb * 1e6),
    defaults: {
      temperature: o.temperature,
      topP: o.top_p,
      topK: o.top_k,
      maxTokens: o.max_new_tokens,
    },
  });
  const server = startServer(app, { hostname: o.host, port: o.port });
  const names = models.map(({ name }) => name).join(", ");
  console.log(`${names} on ${gpu.info.name}, ${formatBytes(gpu.memory.live)} in use`);
  console.log(`Page ${server.url}/`);
  console.log(`API  ${server.url}/v1${apiKey ? " (with the key in GLIMPSE_API_KEY)" : ""}`);
  if (!isLocal && !apiKey) {
    console.log(
      "Anybody who reaches this address can use it; set GLIMPSE_API_KEY to ask for a key.",
    );
  }
  await untilStopped(server);
  for (const { engine } of models) await engine[Symbol.asyncDispose]();
  return 0;
}

/** Makes sure that an option's hosts may be used before a model is loaded. */
async function requireNetwork(option: string, hosts: readonly string[]): Promise<void> {
  const net = { name: "net" } as const;
  for (const name of hosts) {
    const host = name.split(":").length > 2 && !name.startsWith("[") ? `[${name}]` : name;
    const query = Deno.permissions.query(host.includes("*") ? net : { ...net, host });
    const { state } = await query.catch(() => {
      throw new UsageError(`--${option}: ${name} is no host.`);
    });
    if (state === "granted") continue;
    throw new UsageError(
      `--${option} ${hosts} needs the network, which this task may not use; start it as ` +
        `\`deno task serve:net --${option} ${hosts} …\`.`,
    );
  }
}

/** Waits until a server has stopped: a signal lets it finish what runs, a second one breaks that off. */
async function untilStopped(server: Server): Promise<void> {
  let asked = false;
  const signalled = (): void => {
    if (asked) return server.abort();
    asked = true;
    console.log("Finishing what runs; once more breaks it off.");
    server.stop();
  };
  for (const signal of STOP_SIGNALS) Deno.addSignalListener(signal, signalled);
  try {
    await server.finished;
  } finally {
    for (const signal of STOP_SIGNALS) Deno.removeSignalListener(signal, signalled);
  }
}
