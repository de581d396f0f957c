import { byteTokenizer, type TokenizerFiles } from "../../model/byte_tokenizer.ts";
import { Tokenizer } from "../../model/tokenizer.ts";

/** The files beside the repository that are too large or not ours to keep in it. */
export const SHARED: URL = new URL("../../../shared/", import.meta.url);

/** What a test needs that runs only where a file beside the repository is. */
export function needsShared(path: string): { ignore: boolean } {
  try {
    Deno.statSync(new URL(path, SHARED));
    return { ignore: false };
  } catch {
    return { ignore: true };
  }
}

/** A parsed JSON file, as the type that the test knows it to have. */
export function readJson<T>(url: URL): T {
  return JSON.parse(Deno.readTextFileSync(url));
}

/** A parsed JSON file of tests/fixtures/data. */
export function readFixture<T>(name: string): T {
  return readJson(new URL(`../fixtures/data/${name}`, import.meta.url));
}

/** The files of `minimind-v` or `minimind-3v` beside the repository. */
export function sharedTokenizer(folder: string): TokenizerFiles {
  const read = (name: string) =>
    readJson<Record<string, unknown>>(new URL(`${folder}/${name}`, SHARED));
  return { tokenizer: read("tokenizer.json"), config: read("tokenizer_config.json") };
}

/** A byte tokenizer with these merges, each the product of two tokens that exist. */
export function bpeTokenizer(
  merges: [string, string][],
  edit: (files: TokenizerFiles) => void = () => {},
): Tokenizer {
  const files = byteTokenizer();
  const model = files.tokenizer.model as { vocab: Record<string, number>; merges: unknown };
  merges.forEach(([a, b], i) => model.vocab[a + b] = 259 + i);
  model.merges = merges;
  edit(files);
  return new Tokenizer(files.tokenizer, files.config);
}
