import { fromFileUrl, join } from "@std/path";
import type { DatasetSource } from "../../data/dataset.ts";
import { byteTokenizer } from "../../model/byte_tokenizer.ts";

/** Small pictures that stand in the repository. */
export const PICTURES: string = fromFileUrl(new URL("../fixtures/pictures/", import.meta.url));

/** A row of one question and one answer about a picture, or about none. */
export function row(answer: string, image?: string): Record<string, unknown> {
  const question = image ? "<image>\nWhat?" : "What?";
  return { image, conversations: [{ content: question }, { content: answer }] };
}

/** A data set in a temporary folder of its own, with the byte tokenizer and 4 tokens a picture. */
export async function temporaryDataset(
  rows: readonly unknown[],
  pictures: readonly string[] = ["square.png", "tiny.png"],
): Promise<DatasetSource & AsyncDisposable> {
  const imagesPath = await Deno.makeTempDir();
  const dataPath = join(imagesPath, "rows.jsonl");
  const lines = rows.map((row) => typeof row === "string" ? row : JSON.stringify(row));
  await Deno.writeTextFile(dataPath, lines.join("\n") + "\n");
  for (const name of pictures) await Deno.copyFile(join(PICTURES, name), join(imagesPath, name));
  return {
    dataPath,
    imagesPath,
    tokenizer: byteTokenizer(),
    preprocessor: { size: 16, crop_size: 16 },
    maxLength: 200,
    tokensPerPicture: 4,
    [Symbol.asyncDispose]: () => Deno.remove(imagesPath, { recursive: true }),
  };
}

/** A source without what cannot be sent to a worker. */
export function plain(
  { [Symbol.asyncDispose]: _, ...source }: DatasetSource & AsyncDisposable,
): DatasetSource {
  return source;
}
