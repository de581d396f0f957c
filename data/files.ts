import { basename, dirname, join, resolve } from "@std/path";
import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import { type ByteSource, checkRange } from "../model/bytes.ts";

/** A file that stays open until it is disposed of. */
export type OpenFile = ByteSource & AsyncDisposable;

/**
 * Opens a file for reading anywhere in it.
 *
 * @example
 * ```ts
 * await using file = await openFile("model.safetensors");
 * const head = await file.read(0, 8);
 * ```
 * @throws {GlimpseError} that names the path, if it cannot be opened or is no file.
 */
export async function openFile(path: string): Promise<OpenFile> {
  const file = await Deno.open(path).catch((error) => {
    throw fileError("open", path, error);
  });
  const { isFile, size } = await file.stat();
  if (!isFile) {
    file.close();
    throw new GlimpseError(`${path} is not a file.`);
  }
  let last: Promise<unknown> = Promise.resolve(); // reads move one position, so they take turns
  return {
    name: path,
    size,
    read(offset, length) {
      const result = last.then(() => readAt(file, path, size, offset, length));
      last = result.catch(() => {});
      return result;
    },
    async [Symbol.asyncDispose]() {
      await last;
      file.close();
    },
  };
}

async function readAt(
  file: Deno.FsFile,
  path: string,
  size: number,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  checkRange(path, size, offset, length);
  const bytes = new Uint8Array(length);
  try {
    await file.seek(offset, Deno.SeekMode.Start);
    for (let done = 0; done < length;) {
      const count = await file.read(bytes.subarray(done));
      if (count === null) throw new FormatError(`${path} became shorter while it was read.`);
      done += count;
    }
  } catch (error) {
    throw fileError("read", path, error);
  }
  return bytes;
}

/**
 * Writes a file so that its name stands for all of it or for what was there before: into a
 * temporary file in the same folder, which is forced to the disk and then renamed. The folder is
 * made if it is missing. If anything fails, the temporary file is removed.
 *
 * @throws {GlimpseError} that names the path, if it cannot be written; for a full disk it says so.
 */
export async function writeFileAtomic(
  path: string,
  content: AsyncIterable<Uint8Array> | Uint8Array | string,
): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${crypto.randomUUID()}.tmp`);
  try {
    await Deno.mkdir(folder, { recursive: true });
    try {
      {
        using file = await Deno.open(temporary, { write: true, createNew: true });
        for await (const chunk of chunksOf(content)) await writeAll(file, chunk);
        await file.sync();
      }
      await Deno.rename(temporary, path);
    } catch (error) {
      await Deno.remove(temporary).catch(() => {});
      throw error;
    }
  } catch (error) {
    throw fileError("write", path, error);
  }
}

/**
 * Makes sure that files can be written to a folder, so that it is not found out after hours of work. Leaves nothing
 * behind, not even the folder where it is missing.
 *
 * @throws {GlimpseError} that names the folder, if they cannot.
 */
export async function requireWritable(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let at = resolve(folder); !await exists(at) && at !== dirname(at); at = dirname(at)) {
    missing.push(at);
  }
  try {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.remove(await Deno.makeTempFile({ dir: folder, prefix: ".", suffix: ".tmp" }));
  } catch (error) {
    throw fileError("write to the folder", folder, error);
  } finally {
    for (const at of missing) await Deno.remove(at).catch(() => {}); // in the meantime it may have been filled
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(
    () => true,
    (error) => !(error instanceof Deno.errors.NotFound),
  );
}

async function* chunksOf(
  content: AsyncIterable<Uint8Array> | Uint8Array | string,
): AsyncGenerator<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}

/** What the operating system's codes mean to a person. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist",
  EACCES: "permission is denied",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of its path is not a folder",
  EEXIST: "a file stands where a folder should be",
  EROFS: "the file system is read-only",
  ENAMETOOLONG: "its name is too long",
  ENOSPC: "the disk is full; free some space and try again",
  EDQUOT: "the disk quota is used up; free some space and try again",
  EFBIG: "the file would be larger than allowed",
};

/** The operating system's error in a sentence with the path; other errors as they are. */
function fileError(verb: string, path: string, error: unknown): unknown {
  if (error instanceof GlimpseError || !(error instanceof Error)) return error;
  if (!("code" in error) && !(error instanceof Deno.errors.NotCapable)) return error;
  return new GlimpseError(cannot(verb, path, reasonOf(error)), { cause: error });
}

/** Why the operating system refused something, in words where its code is known. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as Error & { code?: unknown };
  return REASONS[String(code)] ?? message;
}

function cannot(verb: string, path: string | undefined, reason: string): string {
  return `Cannot ${verb} ${path}: ${reason}.`;
}

/** What is said for the calls that Deno's errors name; others are named as they are. */
const CALLS: Readonly<Record<string, string>> = {
  mkdir: "make the folder",
  readdir: "read the folder",
  readfile: "read",
  writefile: "write",
};

/** The operating system's error in a sentence with the path that it names; Deno's own text where the code is unknown. */
export function systemErrorText(error: Error): string {
  const reason = REASONS["code" in error ? String(error.code) : ""];
  if (reason === undefined) return error.message;
  const [, call, path] = /: (\w+) '(.*)'$/s.exec(error.message) ?? [];
  if (call === undefined) return `${reason[0]!.toUpperCase()}${reason.slice(1)}.`;
  return cannot(CALLS[call] ?? call, path, reason);
}
