/** One file from a server to a path: resumed, checked, in place at once. */

import { createHash, type Hash } from "node:crypto";
import { dirname } from "@std/path";
import { FormatError, GlimpseError } from "../../kernels/runtime/errors.ts";
import { type Http, networkError, originOf, TransientError, Watch } from "./http.ts";
import type { Checksum, RemoteFile } from "./repository.ts";

/** What came of a file. */
export type Outcome = "fetched" | "present";

/**
 * Where the beginning of a file is kept until all of it is there: beside it, under a name that
 * tells contents apart.
 */
export function partPath(file: RemoteFile, path: string): string {
  return `${path}.${file.checksum?.hex.slice(0, 12) ?? file.size}.part`;
}

/**
 * Whether a path holds just this file.
 *
 * @returns `"different"` where it holds something else.
 */
export async function compareFile(
  file: RemoteFile,
  path: string,
): Promise<"absent" | "same" | "different"> {
  const info = await Deno.stat(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (info === undefined) return "absent";
  if (!info.isFile || info.size !== file.size) return "different";
  if (file.checksum === undefined) return "same";
  const hash = newHash(file.checksum, file.size);
  using opened = await Deno.open(path);
  await hashFile(hash, opened);
  return hash.digest("hex") === file.checksum.hex ? "same" : "different";
}

/**
 * Fetches a file. What was fetched of it before is kept and continued; the length and the checksum
 * are compared; only then does the file get its name.
 *
 * @param moved Hears how many bytes are there.
 * @throws {GlimpseError} where it cannot be had.
 * @throws {FormatError} where the server twice sends something else than it announced.
 */
export async function downloadFile(
  file: RemoteFile,
  path: string,
  http: Http,
  moved: (bytes: number) => void = () => {},
): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const part = partPath(file, path);
  let locked = false;
  try {
    using target = await Deno.open(part, { read: true, write: true, create: true });
    const inPlace = async () => (await Deno.stat(part)).ino === (await target.stat()).ino;
    locked = await target.tryLock(true) && await inPlace().catch(() => false);
    if (!locked) {
      throw new GlimpseError(`${path} is being fetched by another process.`);
    }
    for (let tries = 0, good = false; !good; tries++) {
      good = await fill(target, file, http, moved);
      if (good) break;
      await target.truncate(0);
      if (tries > 0) {
        throw new FormatError(
          `${originOf(file.url)} twice sent something else for ${file.path} than its checksum ` +
            `announces (${file.checksum?.kind} ${file.checksum?.hex}); nothing was kept.`,
        );
      }
    }
    await target.sync();
    await Deno.rename(part, path);
  } catch (error) {
    const { size } = await Deno.stat(part).catch(() => ({ size: NaN }));
    if (locked && size === 0) await Deno.remove(part).catch(() => {});
    throw error;
  }
}

/** Brings a partial file to its full length and says whether its checksum is right. */
async function fill(
  target: Deno.FsFile,
  file: RemoteFile,
  http: Http,
  moved: (bytes: number) => void,
): Promise<boolean> {
  const { checksum, size } = file;
  let hash = newHash(checksum, size);
  let length = (await target.stat()).size;
  if (length > size) {
    await target.truncate(0);
    length = 0;
  }
  await target.seek(0, Deno.SeekMode.Start);
  await hashFile(hash, target);
  moved(length);
  let before = length;
  const restart = async () => {
    await target.truncate(0);
    await target.seek(0, Deno.SeekMode.Start);
    hash = newHash(checksum, size);
    length = before = 0;
  };
  await http.repeat(async () => {
    if (length === size) return;
    using watch = new Watch(http.patience, http.signal);
    const range: Record<string, string> = length > 0 ? { range: `bytes=${length}-` } : {};
    const response = await http.open(file.url, file.path, range, watch.signal);
    await checkRange(response, file, length, restart);
    try {
      for await (const chunk of response.body ?? []) {
        watch.heard();
        if (length + chunk.length > size) {
          throw new FormatError(
            `${originOf(file.url)} sends more than the ${size} bytes that ${file.path} has.`,
          );
        }
        await writeAll(target, chunk);
        hash.update(chunk);
        moved(length += chunk.length);
      }
    } catch (error) {
      throw networkError(error, response.url, http.signal, `broke off ${file.path}`);
    }
    if (length < size) {
      throw new TransientError(
        `${originOf(file.url)} ended ${file.path} after ${length} of ${size} bytes.`,
      );
    }
  }, () => {
    const progress = length > before;
    before = length;
    return progress;
  });
  return checksum === undefined || hash.digest("hex") === checksum.hex;
}

/** Starts over where the server does not continue, or continues another file. */
async function checkRange(
  response: Response,
  file: RemoteFile,
  length: number,
  restart: () => Promise<void>,
): Promise<void> {
  const { status, headers, body } = response;
  if (status === 206) {
    const [, from, total] =
      /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "") ??
        [];
    if (Number(from) === length && (total === "*" || Number(total) === file.size)) return;
  } else if (status === 200) {
    if (length > 0) await restart();
    const announced = headers.get("content-length");
    if (announced === null || Number(announced) === file.size) return;
    await body?.cancel();
    throw new TransientError(
      `${
        originOf(file.url)
      } announces ${announced} bytes for ${file.path}, which has ${file.size}.`,
    );
  }
  await body?.cancel();
  await restart();
  throw new TransientError(`${originOf(file.url)} cannot continue ${file.path} (${status}).`);
}

function newHash(checksum: Checksum | undefined, size: number): Hash {
  return checksum?.kind === "git"
    ? createHash("sha1").update(`blob ${size}\0`)
    : createHash("sha256");
}

/** Adds a file from where it stands to its end. */
async function hashFile(hash: Hash, file: Deno.FsFile): Promise<void> {
  const chunk = new Uint8Array(1 << 20);
  for (let count = await file.read(chunk); count !== null; count = await file.read(chunk)) {
    hash.update(chunk.subarray(0, count));
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}
