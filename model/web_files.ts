import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { blobSource, type ByteSource } from "./bytes.ts";
import type { ChatModel } from "./chat_model.ts";
import { type ChatSource, readChatModel } from "./load_chat_model.ts";
import type { ModelFiles, OpenWeights } from "./model_files.ts";
import { readWeights, WEIGHT_NAMES } from "./read_weights.ts";

/** A model's files on the web, by their addresses; a page's own are relative to it. */
export const WEB: ModelFiles = { read, openWeights, hasWeights };

/**
 * Loads a model to talk to from the web, in a browser or elsewhere.
 *
 * @param source Addresses in place of paths: of the weights' file, of the folders of tokenizer and vision tower.
 * @throws {GlimpseError} that names the address which cannot be reached or has nothing.
 * @throws {FormatError} when its weights have no projection, or do not fit.
 *
 * ```ts ignore
 * const model = await fetchChatModel(gpu, {
 *   weights: "model/sft_vlm_512.pth",
 *   tokenizer: "model",
 *   vision: "https://huggingface.co/openai/clip-vit-base-patch16/resolve/main",
 * });
 * ```
 */
export async function fetchChatModel(gpu: Gpu, source: ChatSource): Promise<ChatModel> {
  return await readChatModel(WEB, gpu, source);
}

/** What an address holds; nothing where there is none. Servers of pages answer with a page instead. */
async function open(address: string): Promise<ByteSource | undefined> {
  const response = await fetch(address).catch((cause) => {
    throw new GlimpseError(`${address} cannot be reached: ${cause.message}`, { cause });
  });
  const isPage = response.headers.get("content-type")?.startsWith("text/html");
  if (response.ok && !isPage) return blobSource(address, await response.blob());
  await response.body?.cancel();
  if (response.ok || response.status === 404) return undefined;
  throw new GlimpseError(`${address} answered ${response.status} ${response.statusText}.`);
}

async function read(address: string): Promise<Uint8Array | undefined> {
  const source = await open(address);
  return await source?.read(0, source.size);
}

async function openWeights(address: string): Promise<OpenWeights> {
  const isFile = /\.(pth|bin|pt|safetensors|json)$/.test(address);
  const candidates = isFile ? [address] : WEIGHT_NAMES.map((name) => `${address}/${name}`);
  for (const candidate of candidates) {
    const source = await open(candidate);
    if (!source) continue;
    const weights = await readWeights(source, async (file) => {
      const path = candidate.slice(0, candidate.lastIndexOf("/") + 1) + file;
      return await open(path) ?? nothing(path);
    });
    return { ...weights, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  return nothing(candidates.join(", "));
}

async function hasWeights(folder: string): Promise<boolean> {
  const answers = WEIGHT_NAMES.map((name) => fetch(`${folder}/${name}`, { method: "HEAD" }));
  return (await Promise.all(answers)).some(({ ok }) => ok);
}

function nothing(addresses: string): never {
  throw new GlimpseError(`There are no weights: looked for ${addresses}.`);
}
