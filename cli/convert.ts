/** `deno task convert`: weights from one format to another. */

import { convertWeights } from "../data/convert_weights.ts";
import { modelFolder } from "../data/model_folder.ts";
import { choice, integer, path, positional } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";
import { bytesText } from "./transfer_report.ts";

/** The options of `convert`. */
export const options = {
  what: positional(choice(["weights"], { help: "What is converted: weights." })),
  in: positional(path({ help: "A .pth, .bin or .safetensors file, or a folder of transformers." })),
  out: positional(path({ help: "Such a file, or a folder if it has none of these endings." })),
  dtype: choice(["float32", "float16", "bfloat16"], {
    help: "The type of the numbers.",
    defaultText: "theirs",
  }),
  root: path({ help: "Folder laid out as MiniMind-V's.", default: "." }),
  tokenizer_path: path({ help: "Folder of the tokenizer for a folder.", defaultText: "model" }),
  num_attention_heads: integer({
    help: "Heads of the language model, which weights do not show.",
    defaultText: "8",
    min: 1,
  }),
};

/** Converts and says what was written. */
export async function run(args: readonly string[]): Promise<number> {
  const given = parseOptions(options, args);
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
