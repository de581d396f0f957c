import { dirname } from "@std/path";
import { writeFileAtomic } from "../data/files.ts";

/** Writes metrics as they come, one JSON line a step. */
export class MetricsFile implements Disposable {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Opens a file, anew or after the first `keep` updates that it holds. Its folder is made if it is missing. */
  static async open(path: string, keep: number): Promise<MetricsFile> {
    await Deno.mkdir(dirname(path), { recursive: true });
    const kept = keep > 0 ? await linesUpTo(path, keep) : "";
    if (kept) await writeFileAtomic(path, kept); // a kill now finds all lines, or those to be kept
    const how = kept ? { append: true } : { write: true, create: true, truncate: true };
    return new MetricsFile(await Deno.open(path, how));
  }

  /** Writes one line, whole. */
  write(metrics: object): void {
    const bytes = new TextEncoder().encode(JSON.stringify(metrics) + "\n");
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** The lines of a metrics file up to an update; a line that a kill cut off is dropped. */
async function linesUpTo(path: string, updates: number): Promise<string> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
  const kept = text.split("\n").slice(0, -1).filter((line) => {
    try {
      return JSON.parse(line).step <= updates;
    } catch {
      return false;
    }
  });
  return kept.map((line) => line + "\n").join("");
}
