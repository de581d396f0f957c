import { FormatError } from "../kernels/runtime/errors.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Vlm } from "./vlm.ts";

/**
 * Refuses a tokenizer that makes tokens for which a model has no rows. Rows without a token do no harm.
 *
 * @param folder Where the tokenizer was found.
 * @throws {FormatError} that names both numbers.
 */
export function requireTokens({ vocabSize }: Tokenizer, { config }: Vlm, folder: string): void {
  const rows = config.language.vocab_size;
  if (vocabSize <= rows) return;
  throw new FormatError(
    `The tokenizer in ${folder} has ${vocabSize} tokens, but the model has ${rows}: its weights were made with another one.`,
  );
}
