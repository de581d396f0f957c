/** Where pictures come from: a folder, or a zip archive as it was downloaded. */

import { dirname } from "@std/path";
import { DataError } from "../kernels/runtime/errors.ts";
import { decodePicture, readPicture, type RgbPicture } from "./picture.ts";
import { ZipArchive, type ZipIndex } from "./zip_archive.ts";

/** Longest file of a picture in an archive, in bytes. */
const MAX_BYTES = 2 ** 28;

/** Pictures by name. */
export interface PictureSource extends Disposable {
  /** What opens the same pictures faster; workers share it. */
  readonly index?: ZipIndex;
  /**
   * Reads a picture's file.
   *
   * @throws {DataError} that names it, where it is not there or cannot be read.
   */
  read(name: string): Promise<Uint8Array>;
  /**
   * Decodes a picture.
   *
   * @throws {DataError} as `read` does, and where it is not a picture.
   */
  decode(name: string): Promise<RgbPicture>;
}

/**
 * Opens a folder of pictures, or a zip archive of them. Where there is no folder but an archive of its
 * name with `.zip` behind it, that is taken.
 *
 * @param index That of the same archive, opened before.
 * @throws {FormatError} where the archive is truncated or corrupt.
 */
export function openPictures(path: string, index?: ZipIndex): PictureSource {
  const archive = archivePath(path);
  return archive === undefined
    ? folderPictures(path)
    : zipPictures(ZipArchive.open(archive, index));
}

/** Where the pictures of a data file are unless told: `x_images` beside `x_data.jsonl`, else its folder. */
export function picturesBeside(dataPath: string): string {
  const stem = /^(.*)_data\.[^./\\]+$/.exec(dataPath)?.[1];
  return stem === undefined ? dirname(dataPath) : `${stem}_images`;
}

function archivePath(path: string): string | undefined {
  if (path === "") return undefined; // a data set without pictures
  const isFile = (path: string): boolean | undefined => {
    try {
      return Deno.statSync(path).isFile;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  };
  const found = isFile(path);
  if (found === true) return path;
  return found === undefined && isFile(`${path}.zip`) ? `${path}.zip` : undefined;
}

function folderPictures(folder: string): PictureSource {
  return {
    read: (name) => readPicture(`${folder}/${name}`),
    decode: (name) => decodePicture(`${folder}/${name}`),
    [Symbol.dispose]: () => {},
  };
}

function zipPictures(archive: ZipArchive): PictureSource {
  const read = async (name: string) => {
    const place = `picture ${archive.path}/${name}`;
    const record = archive.find(name);
    if (!record) throw new DataError(`${place} does not exist.`);
    if (record.size > MAX_BYTES) {
      throw new DataError(`${place} cannot be read: it has ${record.size} bytes.`);
    }
    const bytes = new Uint8Array(record.size);
    let at = 0;
    try {
      for await (const piece of archive.contents(record)) {
        bytes.set(piece, at);
        at += piece.length;
      }
    } catch (cause) {
      const why = (cause as Error).message.replace(/\.$/, "");
      throw new DataError(`${place} cannot be read: ${why}.`, { cause });
    }
    return bytes;
  };
  return {
    index: archive.index,
    read,
    decode: async (name) =>
      await decodePicture(await read(name), `picture ${archive.path}/${name}`),
    [Symbol.dispose]: () => archive[Symbol.dispose](),
  };
}
