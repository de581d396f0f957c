/** `deno task tokenizer`: learns a tokenizer from text. */

import { join } from "@std/path";
import { DISK } from "../data/disk.ts";
import { writeFileAtomic } from "../data/files.ts";
import { readTexts } from "../data/texts.ts";
import { DataError, GlimpseError } from "../kernels/runtime/errors.ts";
import { trainTokenizer, WordCounts } from "../model/tokenizer_trainer.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { flag, integer, list, path } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";

/** The options of `tokenizer`. */
export const options = {
  root: path({ help: "Folder laid out as MiniMind-V's.", default: "." }),
  data_path: list({
    help:
      "Files to learn from, with commas between them: .txt, or rows with text or conversations.",
    defaultText: "dataset/pretrain_llm_data.jsonl",
  }),
  tokenizer_path: path({ help: "Folder to write to.", defaultText: "model" }),
  vocab_size: integer({
    help: "Tokens at most, the three special ones and the 256 bytes included.",
    default: 6400,
    min: 259,
    max: 1_000_000,
  }),
  min_frequency: integer({
    help: "How often a pair must be there to become a token.",
    default: 2,
    min: 1,
  }),
  force: flag({ help: "Replace a tokenizer that is there but differs." }),
};

/** What the chat template writes around every conversation. */
const FRAME = "system\nYou are a helpful assistant\nuser\nassistant\n";

/** Learns a tokenizer, writes its two files and says how well it does. */
export async function run(args: readonly string[]): Promise<number> {
  const o = parseOptions(options, args);
  const folder = o.tokenizer_path ?? join(o.root, "model");
  const paths = o.data_path ?? [join(o.root, "dataset", "pretrain_llm_data.jsonl")];
  const words = new WordCounts();
  let [texts, bytes] = [0, 0];
  const encoder = new TextEncoder();
  for (const path of paths) {
    for await (const text of readTexts(path)) {
      words.add(text);
      texts++;
      bytes += encoder.encode(text).length;
    }
  }
  if (texts === 0) throw new DataError(`There is no text in ${paths.join(", ") || "--data_path"}.`);
  words.add(FRAME, texts);
  console.log(`${texts} texts, ${bytes} bytes, ${words.size} different words.`);
  const files = trainTokenizer(words, { vocabSize: o.vocab_size, minFrequency: o.min_frequency });
  const tokenizer = new Tokenizer(files.tokenizer, files.config);
  let tokens = -texts * tokenizer.encode(FRAME).length;
  for (const [word, count] of words.entries()) tokens += count * tokenizer.encode(word).length;
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  const written = {
    "tokenizer_config.json": json(files.config),
    "tokenizer.json": json(files.tokenizer),
  };
  for (const [name, text] of Object.entries(written)) {
    if (!o.force) await requireSame(join(folder, name), text);
  }
  for (const [name, text] of Object.entries(written)) {
    await writeFileAtomic(join(folder, name), text);
  }
  console.log(
    `A tokenizer of ${tokenizer.vocabSize} tokens is in ${folder}: ` +
      `${(bytes / Math.max(1, tokens)).toFixed(2)} bytes a token.`,
  );
  return 0;
}

/** Weights know their tokens by number: with another tokenizer in this one's place they are worth nothing. */
async function requireSame(path: string, text: string): Promise<void> {
  const there = await DISK.read(path);
  if (!there || new TextDecoder().decode(there) === text) return;
  throw new GlimpseError(
    `${path} is there and differs, and weights that were made with it need it: name another ` +
      `--tokenizer_path, or add --force to replace it.`,
  );
}
