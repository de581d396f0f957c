/** Several files at once, with room for them made sure before. */

import { statfs } from "node:fs/promises";
import { dirname, join } from "@std/path";
import { GlimpseError } from "../../kernels/runtime/errors.ts";
import { safeJoin } from "../safe_path.ts";
import { compareFile, downloadFile, partPath } from "./download.ts";
import type { Http } from "./http.ts";
import type { RemoteFile } from "./repository.ts";

/** A file and where it goes. */
export interface Transfer {
  /** The file. */
  readonly file: RemoteFile;
  /** Where it goes. */
  readonly path: string;
}

/** Who is told how transfers stand. */
export interface TransferListener {
  /** A file is there already. */
  present(transfer: Transfer): void;
  /** A file has so many bytes by now. */
  progress(transfer: Transfer, bytes: number): void;
  /** A file is complete. */
  done(transfer: Transfer): void;
}

/** How transfers are made. */
export interface TransferOptions {
  /** Files at once. */
  readonly jobs: number;
  /** Whether a file that is there but differs is replaced. */
  readonly force: boolean;
  /** Who is told. */
  readonly listener: TransferListener;
}

/**
 * Where files of a repository go in a folder.
 *
 * @throws {FormatError} where a name leads out of it.
 */
export function transfersTo(
  files: readonly RemoteFile[],
  folder: string,
  source: string,
): Transfer[] {
  return files.map((file) => ({ file, path: safeJoin(folder, file.path, source) }));
}

/**
 * Fetches files, those that are there and right excepted. One that fails does not hold up the others.
 *
 * @returns How many were fetched.
 * @throws {GlimpseError} where the disk lacks the room, a file differs from what is there, or some
 * could not be had; it names each.
 */
export async function fetchFiles(
  transfers: readonly Transfer[],
  http: Http,
  options: TransferOptions,
): Promise<number> {
  const missing: Transfer[] = [];
  for (const transfer of transfers) {
    const state = await compareFile(transfer.file, transfer.path);
    if (state === "same") options.listener.present(transfer);
    else if (state === "absent" || options.force) missing.push(transfer);
    else {
      throw new GlimpseError(
        `${transfer.path} is there, but it is not the file of the hub. Move it away, or add --force ` +
          "to replace it.",
      );
    }
    http.signal?.throwIfAborted();
  }
  await checkRoom(missing);
  const waiting = [...missing];
  const errors: unknown[] = [];
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const transfer = next;
      try {
        await downloadFile(
          transfer.file,
          transfer.path,
          http,
          (bytes) => options.listener.progress(transfer, bytes),
        );
        options.listener.done(transfer);
      } catch (error) {
        errors.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  http.signal?.throwIfAborted();
  if (errors.length > 0) throw combined(errors);
  return missing.length;
}

function combined(errors: readonly unknown[]): unknown {
  const unexpected = errors.find((error) => !(error instanceof GlimpseError));
  if (unexpected !== undefined || errors.length === 1) return unexpected ?? errors[0];
  const messages = new Set(errors.map((error) => (error as GlimpseError).message));
  return new GlimpseError([...messages].join("\n"));
}

/** Refuses transfers for which a disk has no room; says nothing where the room is not to be known. */
async function checkRoom(transfers: readonly Transfer[]): Promise<void> {
  const needed = new Map<string, number>();
  for (const { file, path } of transfers) {
    const folder = await existing(dirname(path));
    const there = await Deno.stat(partPath(file, path)).then(({ size }) => size, () => 0);
    needed.set(folder, (needed.get(folder) ?? 0) + Math.max(0, file.size - there));
  }
  for (const [folder, bytes] of needed) {
    const free = await statfs(folder).then(({ bavail, bsize }) => bavail * bsize, () => Infinity);
    if (bytes > free) {
      throw new GlimpseError(
        `${gigabytes(bytes)} are needed in ${folder}, and ${gigabytes(free)} are free there.`,
      );
    }
  }
}

async function existing(folder: string): Promise<string> {
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    if (await Deno.stat(at).then(() => true, () => false)) return at;
  }
  return join(folder, "/") === folder ? folder : ".";
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
