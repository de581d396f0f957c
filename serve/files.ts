import { Lru } from "./lru.ts";

/** A file that a client left. */
export interface StoredFile {
  /** How requests name it. */
  readonly id: string;
  /** Its name, as the client gave it. */
  readonly filename: string;
  /** What it is for, as the client gave it. */
  readonly purpose: string;
  /** Seconds since 1970. */
  readonly created: number;
  /** Its content. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Files in memory; when they are too many, those that were not asked for longest go. */
export class FileStore {
  readonly #files: Lru<StoredFile>;

  /** A store of up to `budget` bytes. */
  constructor(budget: number) {
    this.#files = new Lru(budget, ({ bytes }) => bytes.length + 1024);
  }

  /** Keeps a file under a name that cannot be guessed. */
  add(filename: string, purpose: string, bytes: Uint8Array<ArrayBuffer>): StoredFile {
    const id = `file-${crypto.randomUUID().replaceAll("-", "")}`;
    const file = { id, filename, purpose, created: Math.floor(Date.now() / 1000), bytes };
    this.#files.set(id, file);
    return file;
  }

  /** A file, if it is still there. */
  get(id: string): StoredFile | undefined {
    return this.#files.get(id);
  }

  /** Removes a file; whether it was there. */
  delete(id: string): boolean {
    return this.#files.delete(id);
  }

  /** All files. */
  list(): StoredFile[] {
    return [...this.#files.values()];
  }
}

/** A file as OpenAI's interface describes it. */
export function fileObject(
  { id, filename, purpose, created, bytes }: StoredFile,
): Record<string, unknown> {
  return {
    id,
    object: "file",
    bytes: bytes.length,
    created_at: created,
    filename,
    purpose,
    status: "processed",
  };
}
