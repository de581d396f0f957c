/** Weights from one format to another: `.pth`, safetensors, or a folder as transformers has it. */

import { basename, join } from "@std/path";
import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import { type MiniMindOptions, miniMindOptions } from "../model/config.ts";
import {
  fromFloat32,
  type HostDtype,
  type HostTensor,
  readChecked,
  toFloat32,
} from "../model/host_tensor.ts";
import { inferMiniMindConfig } from "../model/infer_config.ts";
import { imagePlaceholder } from "../model/placeholders.ts";
import { pthChunks } from "../model/pth_writer.ts";
import { safetensorsChunks } from "../model/safetensors.ts";
import { parseStrictJson } from "../model/strict_json.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import type { WeightFile } from "../model/weight_file.ts";
import { TOKENS_PER_PICTURE } from "./dataset.ts";
import { DISK } from "./disk.ts";
import { writeFileAtomic } from "./files.ts";
import { openWeights } from "./open_weights.ts";

/** What weights are converted to. */
export interface ConvertOptions {
  /** The type of their numbers; theirs if left out. Whole numbers stay what they are. */
  readonly dtype?: "float32" | "float16" | "bfloat16" | undefined;
  /** What a language model must be; the rest is read from the weights. For folders. */
  readonly language?: MiniMindOptions;
  /** Folder of the tokenizer that goes into a folder. */
  readonly tokenizer?: string | undefined;
}

/** What was written. */
export interface Converted {
  /** The files. */
  readonly files: readonly string[];
  /** How many tensors they hold. */
  readonly tensors: number;
  /** How many bytes these have. */
  readonly bytes: number;
}

const HEAD = "lm_head.weight", EMBEDDING = "model.embed_tokens.weight";
const FLOATS: readonly HostDtype[] = ["float64", "float32", "float16", "bfloat16"];
const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"];
const TOKENIZER_EXTRAS = [
  "chat_template.jinja",
  "special_tokens_map.json",
  "generation_config.json",
];

/**
 * Converts weights and reads them again to compare every number.
 *
 * @param from A `.pth`, `.bin` or safetensors file, or a folder.
 * @param to A name that ends in `.pth`, `.bin` or `.safetensors`; anything else is a folder, which
 * gets `config.json`, `model.safetensors` and the tokenizer.
 * @throws {FormatError} where the weights cannot be read, a number does not fit the new type, or what
 * was written reads back otherwise.
 */
export async function convertWeights(
  from: string,
  to: string,
  options: ConvertOptions = {},
): Promise<Converted> {
  await using weights = await openWeights(from);
  const tensors = [...weights.tensors.values()].map((tensor) => withDtype(tensor, options.dtype));
  const isPth = /\.(pth|bin)$/.test(to), isFolder = !isPth && !to.endsWith(".safetensors");
  const tied = await isTied(weights);
  const files: string[] = [];
  if (isPth) {
    const shares = tied ? new Map([[HEAD, EMBEDDING]]) : undefined;
    const own = tensors.filter(({ name }) => !tied || name !== HEAD);
    await writeFileAtomic(to, pthChunks(own, basename(to).replace(/\.\w+$/, ""), shares));
    files.push(to);
  } else {
    const head = tied && !weights.tensors.has(HEAD)
      ? tensors.filter(({ name }) => name === EMBEDDING).map((t) => ({ ...t, name: HEAD }))
      : [];
    const path = isFolder ? join(to, "model.safetensors") : to;
    if (isFolder) files.push(...await writeFolder(from, to, weights, tensors, options));
    await writeFileAtomic(path, safetensorsChunks([...tensors, ...head], { format: "pt" }));
    files.push(path);
  }
  const bytes = await verify(to, tensors);
  return { files, tensors: tensors.length, bytes };
}

/** Whether the head is the embedding: absent, or equal to it in every bit. */
async function isTied({ tensors }: WeightFile): Promise<boolean> {
  const embedding = tensors.get(EMBEDDING), head = tensors.get(HEAD);
  if (!embedding || !head) return embedding !== undefined;
  return head.dtype === embedding.dtype &&
    isEqual(await readChecked(head), await readChecked(embedding));
}

function withDtype(tensor: HostTensor, dtype: HostDtype | undefined): HostTensor {
  if (dtype === undefined || dtype === tensor.dtype || !FLOATS.includes(tensor.dtype)) {
    return tensor;
  }
  return {
    ...tensor,
    dtype,
    async read() {
      const values = toFloat32(await readChecked(tensor), tensor.dtype);
      const bytes = fromFloat32(values, dtype);
      const lost = dtype === "float16" &&
        toFloat32(bytes, dtype).some((value, i) =>
          !Number.isFinite(value) && Number.isFinite(values[i])
        );
      if (!lost) return bytes;
      throw new FormatError(
        `${tensor.name} has numbers beyond 65504, which float16 cannot hold; take bfloat16 or float32.`,
      );
    },
  };
}

/** Writes what stands beside the weights in a folder. */
async function writeFolder(
  from: string,
  to: string,
  weights: WeightFile,
  tensors: readonly HostTensor[],
  { language = {}, tokenizer }: ConvertOptions,
): Promise<string[]> {
  const known = await DISK.read(join(from, "config.json"));
  const given = known
    ? { ...miniMindOptions(parseStrictJson(known, join(from, "config.json")), from), ...language }
    : language;
  const config = inferMiniMindConfig(weights, given, from);
  const folder = await DISK.read(join(from, TOKENIZER_FILES[0]!)) ? from : tokenizer;
  if (folder === undefined) {
    throw new GlimpseError(`A folder gets a tokenizer; name its folder with --tokenizer_path.`);
  }
  const copies: [string, Uint8Array][] = [];
  for (const name of [...TOKENIZER_FILES, ...TOKENIZER_EXTRAS]) {
    const bytes = await DISK.read(join(folder, name));
    if (bytes) copies.push([name, bytes]);
    else if (TOKENIZER_FILES.includes(name)) {
      throw new GlimpseError(`There is no ${name} in ${folder}.`);
    }
  }
  const [files, settings] = TOKENIZER_FILES.map((name) =>
    parseStrictJson(new Map(copies).get(name)!, join(folder, name))
  );
  const ids = new Tokenizer(files, settings);
  const isVlm = tensors.some(({ name }) => name.startsWith("vision_proj."));
  const placeholder = imagePlaceholder(ids).repeat(TOKENS_PER_PICTURE);
  const json = {
    architectures: [isVlm ? "MiniMindVLM" : "MiniMindForCausalLM"],
    model_type: isVlm ? "minimind-v" : "minimind",
    torch_dtype: tensors.find(({ name }) => name === EMBEDDING)!.dtype,
    ...config,
    bos_token_id: ids.bosId,
    eos_token_id: ids.eosId,
    pad_token_id: ids.padId,
    dropout: 0,
    hidden_act: "silu",
    scoring_func: "softmax",
    tie_word_embeddings: true,
    ...(isVlm && { image_special_token: placeholder, image_ids: ids.encode(placeholder) }),
  };
  const written: [string, string | Uint8Array][] = [
    ["config.json", `${JSON.stringify(json, null, 2)}\n`],
    ...copies,
  ];
  for (const [name, content] of written) await writeFileAtomic(join(to, name), content);
  return written.map(([name]) => join(to, name));
}

/** Reads what was written and compares it; gives its length. */
async function verify(path: string, expected: readonly HostTensor[]): Promise<number> {
  await using weights = await openWeights(path);
  let bytes = 0;
  for (const tensor of expected) {
    const written = weights.tensors.get(tensor.name);
    const content = await readChecked(tensor);
    const same = written?.dtype === tensor.dtype &&
      String(written.shape) === String(tensor.shape) &&
      isEqual(await readChecked(written), content);
    if (!same) {
      throw new FormatError(`${tensor.name} in ${path} reads back otherwise than written.`);
    }
    bytes += content.length;
  }
  return bytes;
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
