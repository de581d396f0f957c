/** `deno task convert`: weights or data from one format to another. */

import { dirname } from "@std/path";
import { convertData, picturesBeside } from "../data/convert_data.ts";
import { convertWeights } from "../data/convert_weights.ts";
import { modelFolder } from "../data/model_folder.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { choice, integer, path, positional } from "./option_kinds.ts";
import { type OptionValues, parseOptions } from "./options.ts";
import { bytesText } from "./transfer_report.ts";

const WEIGHTS = "Weights", DATA = "Data";

/** The options of `convert`. */
export const options = {
  what: positional(choice(["weights", "data"], { help: "What is converted: weights or data." })),
  in: positional(
    path({
      help:
        "Weights: a .pth, .bin or .safetensors file, or a folder of transformers. Data: .jsonl, .json, .csv, .tsv or .parquet.",
    }),
  ),
  out: positional(
    path({
      help:
        "Weights: such a file, or a folder if it has none of these endings. Data: .parquet or .jsonl.",
    }),
  ),
  images_path: path({
    section: DATA,
    help: "Folder or zip archive of the pictures.",
    defaultText: "x_images for x_data.jsonl if it is there, else the data's folder",
  }),
  out_images_path: path({
    section: DATA,
    help: "Folder for the pictures beside a .jsonl.",
    defaultText: "x_images for x_data.jsonl",
  }),
  dtype: choice(["float32", "float16", "bfloat16"], {
    section: WEIGHTS,
    help: "The type of the numbers.",
    defaultText: "theirs",
  }),
  root: path({ section: WEIGHTS, help: "Folder laid out as MiniMind-V's.", default: "." }),
  tokenizer_path: path({
    section: WEIGHTS,
    help: "Folder of the tokenizer for a folder.",
    defaultText: "model",
  }),
  num_attention_heads: integer({
    section: WEIGHTS,
    help: "Heads of the language model, which weights do not show.",
    defaultText: "8",
    min: 1,
  }),
};

/** Converts and says what was written. */
export async function run(args: readonly string[]): Promise<number> {
  const given = parseOptions(options, args);
  if (given.what === "data") return await runData(given);
  const { files, tensors, bytes } = await convertWeights(given.in, given.out, {
    dtype: given.dtype,
    tokenizer: given.tokenizer_path ?? modelFolder(given.root).tokenizer,
    language: given.num_attention_heads === undefined
      ? {}
      : { num_attention_heads: given.num_attention_heads },
  });
  console.log(`${tensors} tensors with ${bytesText(bytes)} written and compared:`);
  for (const file of files) console.log(`  ${file}`);
  return 0;
}

async function runData(given: OptionValues<typeof options>): Promise<number> {
  if (!/\.(parquet|jsonl)$/.test(given.out)) {
    throw new UsageError(`OUT is ${given.out}; data is converted to .parquet or .jsonl.`);
  }
  const beside = picturesBeside(given.in);
  const isThere = (path: string) => Deno.stat(path).then(() => true, () => false);
  const images = given.images_path ??
    (await isThere(beside) || await isThere(`${beside}.zip`) ? beside : dirname(given.in));
  const toImages = given.out_images_path ?? picturesBeside(given.out);
  const rows = await convertData({ from: given.in, images, to: given.out, toImages });
  console.log(`${rows} rows written to ${given.out}.`);
  return 0;
}
