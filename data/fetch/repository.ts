/** Repositories of models and data sets on a hub, and what is in them. */

import { FormatError, GlimpseError, UsageError } from "../../kernels/runtime/errors.ts";
import type { Http } from "./http.ts";

/** Whether a repository holds a model or a data set. */
export type RepositoryType = "model" | "dataset";

/** A repository at a revision. */
export interface RepositoryName {
  /** `OWNER/NAME`. */
  readonly id: string;
  /** What it holds. */
  readonly type: RepositoryType;
  /** A branch, tag or commit; the hub's main branch if left out. */
  readonly revision?: string | undefined;
}

/** What a file's content must hash to. */
export interface Checksum {
  /** `git` is SHA-1 over `blob SIZE\0` and the content, as git names a file. */
  readonly kind: "sha256" | "git";
  /** Lower-case hexadecimal digits. */
  readonly hex: string;
}

/** A file of a repository. */
export interface RemoteFile {
  /** Its path within the repository. */
  readonly path: string;
  /** Its length in bytes. */
  readonly size: number;
  /** What it hashes to; nothing where the hub does not say. */
  readonly checksum: Checksum | undefined;
  /** Where it is read from. */
  readonly url: string;
}

/** A site that holds repositories. */
export interface Hub {
  /** Its address, for messages. */
  readonly endpoint: string;
  /**
   * Lists a repository.
   *
   * @throws {GlimpseError} where it does not exist, is not open to the caller, or cannot be reached.
   */
  list(repository: RepositoryName, http: Http): Promise<readonly RemoteFile[]>;
}

/**
 * Checks `OWNER/NAME`.
 *
 * @throws {UsageError} if it is not of that form.
 */
export function checkId(id: string): string {
  if (/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9_][\w.-]*$/.test(id)) return id;
  throw new UsageError(`"${id}" is not the name of a repository, such as OWNER/NAME.`);
}

/** A path for use in an address, its slashes kept. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/**
 * Checks what a hub says of a file.
 *
 * @throws {FormatError} if the size or the checksum is not one.
 */
export function remoteFile(
  path: unknown,
  size: unknown,
  checksum: { kind: Checksum["kind"]; hex: unknown } | undefined,
  urlOf: (path: string) => string,
  hub: string,
): RemoteFile {
  const digits = checksum?.kind === "git" ? 40 : 64;
  const hex = checksum?.hex;
  const validHex = checksum === undefined ||
    (typeof hex === "string" && hex.length === digits && /^[0-9a-f]+$/i.test(hex));
  if (
    typeof path !== "string" || !Number.isSafeInteger(size) || (size as number) < 0 || !validHex
  ) {
    throw new FormatError(
      `${hub} describes the file ${JSON.stringify(path)} with the size ${JSON.stringify(size)} ` +
        `and the checksum ${JSON.stringify(hex)}, which cannot be.`,
    );
  }
  return {
    path,
    size: size as number,
    checksum: checksum && { kind: checksum.kind, hex: (hex as string).toLowerCase() },
    url: urlOf(path),
  };
}

/**
 * Files whose path fits one of the patterns, in which `*` stands for any text and `?` for any
 * character, slashes included, as the hub's own tools read them.
 */
export function selectFiles(
  files: readonly RemoteFile[],
  include: readonly string[],
  exclude: readonly string[],
): readonly RemoteFile[] {
  const [wanted, unwanted] = [include, exclude].map((list) => list.map(pattern));
  const fits = (list: readonly RegExp[], path: string) => list.some((one) => one.test(path));
  return files.filter(({ path }) =>
    (wanted!.length === 0 || fits(wanted!, path)) && !fits(unwanted!, path)
  );
}

function pattern(glob: string): RegExp {
  const text = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  return new RegExp(`^${text}$`, "s");
}

/**
 * The files that are wanted, each by the first of its names that the repository has.
 *
 * @param wanted Per file its names, the best first.
 * @throws {GlimpseError} that lists what the repository has, if a file is there by none of its names.
 */
export function findFiles(
  files: readonly RemoteFile[],
  wanted: readonly (readonly string[])[],
  repository: string,
): readonly RemoteFile[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  return wanted.map((names) => {
    const name = names.find((name) => byPath.has(name));
    if (name !== undefined) return byPath.get(name)!;
    const has = files.slice(0, 20).map(({ path }) => path).join(", ");
    throw new GlimpseError(
      `${repository} has no ${names.join(" and no ")}. It has ${has || "no files"}` +
        `${files.length > 20 ? ` and ${files.length - 20} more` : ""}.`,
    );
  });
}
