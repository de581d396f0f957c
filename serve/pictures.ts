import { ApiError } from "./errors.ts";
import { FetchError, fetchPicture, tooManyBytes } from "./fetch_picture.ts";
import type { FileStore } from "./files.ts";
import type { RequestPart } from "./schema.ts";

/** Where pictures of a request may come from. */
export interface PictureSources {
  /** Files that clients left. */
  readonly files: FileStore;
  /** Hosts from which pictures are fetched: names, `*.name` for those below it, or `*` for any. */
  readonly hosts: readonly string[];
  /** Bytes of a picture at most. */
  readonly maxBytes: number;
}

/**
 * The file of a picture that a part of a request shows.
 *
 * @param part An `image_url` or `file` part.
 * @param param Where the part stands, for the error.
 * @throws {ApiError} when there is no such picture, it is too large, or must not be fetched.
 */
export async function pictureFile(
  part: Exclude<RequestPart, { type: "text" }>,
  param: string,
  sources: PictureSources,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  if (part.type === "file") {
    const { file } = part;
    if ("file_data" in file) return dataUrl(file.file_data, param, sources);
    const stored = sources.files.get(file.file_id);
    if (stored) return stored.bytes;
    throw new ApiError(404, `There is no file ${JSON.stringify(file.file_id)}.`, {
      param,
      code: "file_not_found",
    });
  }
  const { url } = part.image_url;
  if (/^data:/i.test(url)) return dataUrl(url, param, sources);
  if (/^https?:/i.test(url)) return await fetched(url, param, sources, signal);
  throw new ApiError(400, "A picture must be given as a data: or http(s): URL, or as a file.", {
    param,
    code: "invalid_image_url",
  });
}

function dataUrl(
  url: string,
  param: string,
  { maxBytes }: PictureSources,
): Uint8Array<ArrayBuffer> {
  const start = url.indexOf(",") + 1;
  if (!/^data:image\/[\w.+-]+;base64$/i.test(url.slice(0, Math.max(0, start - 1)))) {
    throw new ApiError(400, "A picture's data URL must begin with data:image/…;base64,.", {
      param,
      code: "invalid_image_url",
    });
  }
  if ((url.length - start) * 0.75 > maxBytes + 3) throw tooLarge(maxBytes, param);
  try {
    return Uint8Array.fromBase64(url.slice(start));
  } catch {
    throw new ApiError(400, "The data URL of a picture is not base64.", {
      param,
      code: "invalid_base64",
    });
  }
}

async function fetched(
  url: string,
  param: string,
  { hosts, maxBytes }: PictureSources,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await fetchPicture(url, { hosts, maxBytes, signal });
  } catch (error) {
    if (!(error instanceof FetchError)) throw error;
    const { code, message } = error;
    throw new ApiError(code === "image_too_large" ? 413 : 400, message, { param, code });
  }
}

/** A picture has too many bytes. */
export function tooLarge(most: number, param?: string): ApiError {
  return new ApiError(413, tooManyBytes(most), {
    param,
    code: "image_too_large",
  });
}
