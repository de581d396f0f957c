/** Zip archives unpacked so that nothing lands where it should not. */

import { statfs } from "node:fs/promises";
import { dirname } from "@std/path";
import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import { crc32 } from "../model/crc32.ts";
import type { ZipRecord } from "../model/zip_directory.ts";
import { safeJoin } from "./safe_path.ts";
import type { ZipArchive } from "./zip_archive.ts";

/** How many times longer than the archive its contents may be: deflate itself ends at 1032. */
const MAX_RATIO = 200;

/** How an archive is unpacked. */
export interface ExtractOptions {
  /** Whether files that are there but differ are replaced. */
  readonly force: boolean;
  /** Hears after each file how many bytes of all are done. */
  readonly moved?: (bytes: number, total: number) => void;
  /** Ends it after the file in progress. */
  readonly signal?: AbortSignal;
}

/**
 * Unpacks an archive. Everything that its list says is checked before the first file is written.
 * Files that are there already, by length and checksum, stay.
 *
 * @returns How many files were written and how many were there.
 * @throws {FormatError} where a name leads out of the folder, a file is a link or a device, two files
 * share a name or their bytes, or the contents are out of all proportion.
 * @throws {GlimpseError} where the disk lacks the room, or a file is there and differs.
 */
export async function extractZip(
  archive: ZipArchive,
  folder: string,
  { force, moved, signal }: ExtractOptions,
): Promise<{ written: number; present: number }> {
  const files = checkRecords(archive, folder);
  const total = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  await Deno.mkdir(folder, { recursive: true });
  const free = await statfs(folder).then(({ bavail, bsize }) => bavail * bsize, () => Infinity);
  let written = 0, present = 0, done = 0;
  for (const [path, record] of files) {
    signal?.throwIfAborted();
    const state = await compare(path, record);
    if (state === "different" && !force) {
      throw new GlimpseError(`${path} is there and differs; add --force to replace it.`);
    }
    if (state !== "same" && record.size > free) {
      throw new GlimpseError(`There is no room for ${path} with its ${record.size} bytes.`);
    }
    if (state === "same") present++;
    else {
      await write(archive, record, path);
      written++;
    }
    done += record.size;
    moved?.(done, total);
  }
  return { written, present };
}

/** The files by the paths that they go to. */
function checkRecords(archive: ZipArchive, folder: string): Map<string, ZipRecord> {
  const files = new Map<string, ZipRecord>();
  const names = new Set<string>();
  let stored = 0, size = 0;
  for (const record of archive.records()) {
    const { name } = record;
    const path = safeJoin(folder, name.replace(/\/$/, ""), archive.path);
    if (record.special) {
      throw new FormatError(
        `${archive.path}: ${name} is a link or a device; only files are unpacked.`,
      );
    }
    if (name.endsWith("/")) continue;
    const key = path.normalize("NFC").toLowerCase(); // one name where case does not count
    if (names.has(key)) throw new FormatError(`${archive.path} holds ${name} twice.`);
    names.add(key);
    files.set(path, record);
    stored += record.stored;
    size += record.size;
  }
  if (stored > archive.size) {
    throw new FormatError(`${archive.path} holds files that share their bytes; it is a trap.`);
  }
  if (size > MAX_RATIO * archive.size) {
    throw new FormatError(
      `${archive.path} with ${archive.size} bytes would unpack to ${size}; it is a trap.`,
    );
  }
  return files;
}

async function compare(path: string, record: ZipRecord): Promise<"absent" | "same" | "different"> {
  const info = await Deno.lstat(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (!info) return "absent";
  if (!info.isFile || info.size !== record.size) return "different";
  let sum = 0;
  using file = await Deno.open(path);
  for await (const chunk of file.readable) sum = crc32(chunk, sum);
  return sum === record.crc ? "same" : "different";
}

async function write(archive: ZipArchive, record: ZipRecord, path: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    {
      using file = await Deno.open(temporary, { write: true, createNew: true });
      for await (const piece of archive.contents(record)) {
        for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
      }
    }
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}
