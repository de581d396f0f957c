import { dirname } from "@std/path";

/** Writes metrics as they come, one JSON line a step. */
export class MetricsFile implements Disposable {
  readonly #file: Deno.FsFile;

  /** Opens a file, anew or after the first `keep` updates that it holds. Its folder is made if it is missing. */
  constructor(path: string, keep: number) {
    Deno.mkdirSync(dirname(path), { recursive: true });
    const kept = keep > 0 ? linesUpTo(path, keep) : "";
    this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    this.#write(kept);
  }

  /** Writes one line, whole. */
  write(metrics: object): void {
    this.#write(JSON.stringify(metrics) + "\n");
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }
}

/** The lines of a metrics file up to an update; a line that a kill cut off is dropped. */
function linesUpTo(path: string, updates: number): string {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
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
