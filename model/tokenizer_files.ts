/** What is taken from `tokenizer.json` and `tokenizer_config.json`, checked. */

import { FormatError } from "../kernels/runtime/errors.ts";

/** A token that is found in a text before BPE, as `added_tokens` lists it. */
export interface AddedToken {
  /** Its id. */
  id: number;
  /** Its text. */
  content: string;
  /** Whether `skipSpecialTokens` leaves it out. */
  special: boolean;
}

/** The BPE model of `tokenizer.json`. */
export interface TokenizerModel {
  /** Always BPE. */
  type: "BPE";
  /** Tokens in the byte alphabet, and their ids. */
  vocab: Record<string, number>;
  /** Pairs of tokens that become one, the most frequent first. */
  merges: [string, string][];
}

/** The two files, checked. */
export interface CheckedTokenizerFiles {
  /** `tokenizer.json` as it came. */
  raw: Record<string, unknown>;
  /** Its BPE model. */
  model: TokenizerModel;
  /** Its added tokens and those of the configuration. */
  added: AddedToken[];
  /** Every token's id, added ones included. */
  ids: Map<string, number>;
  /** The special tokens' texts. */
  special: string[];
  /** `bos_token`, where there is one. */
  bos: string | undefined;
  /** `eos_token`. */
  eos: string;
  /** `pad_token`, where there is one. */
  pad: string | undefined;
}

type Json = Record<string, unknown>;

/** No vocabulary is larger; a hostile id cannot make a table of any size. */
const MAX_ID = 1 << 22;

/**
 * Checks the two files.
 *
 * @throws FormatError that names the field
 */
export function readTokenizerFiles(tokenizer: unknown, config: unknown): CheckedTokenizerFiles {
  const raw = object(tokenizer, "tokenizer.json");
  const settings = object(config, "tokenizer_config.json");
  const model = readModel(object(raw.model, "tokenizer.json: model"));
  if (!isByteLevel(raw.decoder)) {
    throw new FormatError(
      `tokenizer.json: the decoder is ${
        kind(raw.decoder)
      }; only byte-level tokenizers are supported.`,
    );
  }
  const ids = new Map<string, number>();
  const owners = new Map<number, string>();
  const add = (token: string, id: number) => {
    const other = owners.get(id) ?? token;
    if (other !== token || (ids.get(token) ?? id) !== id) {
      throw new FormatError(
        `tokenizer.json: ${quote(token)} has the id ${id}, ` +
          (other !== token ? `which ${quote(other)} has too.` : `and ${ids.get(token)} as well.`),
      );
    }
    owners.set(id, token);
    ids.set(token, id);
  };
  for (const [token, id] of Object.entries(model.vocab)) add(token, id);
  const added = readAdded(raw, settings);
  for (const { content, id } of added) add(content, id);
  const named = (key: string): string | undefined => tokenText(settings[key], key);
  const eos = named("eos_token");
  if (eos === undefined) throw new FormatError("tokenizer_config.json names no eos_token.");
  const [bos, pad, unk] = ["bos_token", "pad_token", "unk_token"].map(named);
  const more = array(settings.additional_special_tokens ?? [], "additional_special_tokens");
  const special = new Set([
    ...added.filter(({ special }) => special).map(({ content }) => content),
    ...more.map((token) => tokenText(token, "additional_special_tokens")),
    ...[eos, bos, pad, unk],
  ]);
  special.delete(undefined);
  return {
    raw: { pre_tokenizer: null, normalizer: null, ...raw, post_processor: null },
    model,
    added,
    ids,
    special: [...special] as string[],
    bos,
    eos,
    pad,
  };
}

function readModel(model: Json): TokenizerModel {
  if (model.type !== undefined && model.type !== "BPE") {
    throw new FormatError(`tokenizer.json: the model is ${kind(model)}; only BPE is supported.`);
  }
  const vocab = object(model.vocab, "tokenizer.json: model.vocab");
  for (const [token, id] of Object.entries(vocab)) checkId(id, token);
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[key]) {
      throw new FormatError(`tokenizer.json: ${key} is ${quote(model[key])}; it must be empty.`);
    }
  }
  const merges = array(model.merges, "tokenizer.json: model.merges").map((merge) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new FormatError(`tokenizer.json: ${quote(merge)} is not a merge of two tokens.`);
    }
    const missing = [...pair, pair.join("")].find((token) => !Object.hasOwn(vocab, token));
    if (missing === undefined) return pair as [string, string];
    throw new FormatError(
      `tokenizer.json: the merge ${quote(merge)} needs the token ${
        quote(missing)
      }, which is not there.`,
    );
  });
  return { ...model, type: "BPE", vocab: vocab as Record<string, number>, merges };
}

/** `added_tokens`, and the `added_tokens_decoder` of the configuration where it lists more. */
function readAdded(raw: Json, config: Json): AddedToken[] {
  const found = new Map<string, AddedToken>();
  const decoder = Object.entries(object(config.added_tokens_decoder ?? {}, "added_tokens_decoder"))
    .map(([id, token]) => ({ ...object(token, "added_tokens_decoder"), id: Number(id) }));
  const listed = array(raw.added_tokens ?? [], "tokenizer.json: added_tokens");
  for (const entry of [...listed, ...decoder]) {
    const token = object(entry, "tokenizer.json: added_tokens");
    const { content } = token;
    if (typeof content !== "string" || content === "") {
      throw new FormatError(`tokenizer.json: an added token has the content ${quote(content)}.`);
    }
    const id = checkId(token.id, content);
    if (!found.has(content)) {
      found.set(content, { ...token, id, content, special: !!token.special });
    }
  }
  return [...found.values()];
}

function isByteLevel(decoder: unknown): boolean {
  if (typeof decoder !== "object" || decoder === null) return false;
  const { type, decoders } = decoder as Json;
  return type === "ByteLevel" ||
    (type === "Sequence" && Array.isArray(decoders) && decoders.length === 1 &&
      isByteLevel(decoders[0]));
}

/** A token's text, given as a string or as an object with `content`. */
function tokenText(value: unknown, key: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  const text = typeof value === "object" ? (value as Json).content : value;
  if (typeof text === "string") return text;
  throw new FormatError(`tokenizer_config.json: ${key} is ${quote(value)}, not a token.`);
}

function checkId(id: unknown, token: string): number {
  if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < MAX_ID) return id;
  throw new FormatError(`tokenizer.json: ${quote(token)} has ${quote(id)} for an id.`);
}

function object(value: unknown, name: string): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw new FormatError(`${name} is ${quote(value)}, not an object.`);
}

function array(value: unknown, name: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new FormatError(`${name} is ${quote(value)}, not a list.`);
}

function kind(value: unknown): string {
  const type = (value as Json | null | undefined)?.type;
  return typeof type === "string" ? type : quote(value);
}

function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
