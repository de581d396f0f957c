/**
 * The functions of `jsr:@std/path` that Glimpse uses, for where JSR cannot be reached.
 *
 * @module
 */

import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** What stands between the parts of a path: `/`, on Windows `\`. */
export const SEPARATOR: "/" | "\\" = path.sep;

/** The last part of a path, without `suffix` where more is left; of the root, the separator. */
export function basename(name: string, suffix: string = ""): string {
  const base = path.basename(name) || (name === "" ? "" : SEPARATOR);
  return base !== suffix && base.endsWith(suffix)
    ? base.slice(0, base.length - suffix.length)
    : base;
}

/** All but the last part of a path. */
export function dirname(name: string): string {
  return path.dirname(name).replace(/(?<=[^/:])\/+$/, "");
}

/** The extension of a path, with its dot; empty where there is none. */
export const extname: (path: string) => string = path.extname;

/** Whether a path starts at the root. */
export const isAbsolute: (path: string) => boolean = path.isAbsolute;

/** The parts joined and normalized. */
export const join: (path: string, ...paths: string[]) => string = path.join;

/** The path without `.`, `..` and doubled separators. */
export const normalize: (path: string) => string = path.normalize;

/** The way from one path to another. */
export const relative: (from: string, to: string) => string = path.relative;

/** The absolute path that the segments lead to, starting at the working directory. */
export const resolve: (...segments: string[]) => string = path.resolve;

/** The path of a `file:` URL. */
export function fromFileUrl(url: string | URL): string {
  const { protocol, href } = new URL(url);
  if (protocol !== "file:") {
    throw new TypeError(`URL must be a file URL: received "${protocol}"`);
  }
  return fileURLToPath(href);
}

/** The `file:` URL of an absolute path. */
export function toFileUrl(path: string): URL {
  if (!isAbsolute(path)) throw new TypeError(`Path must be absolute: received "${path}"`);
  return new URL(pathToFileURL(path).href);
}
