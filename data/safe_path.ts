/** Names that come from an archive or a server, held to the folder that they are meant for. */

import { join } from "@std/path";
import { FormatError } from "../kernels/runtime/errors.ts";

/**
 * The path of a file below a folder.
 *
 * @param folder The folder that nothing may leave.
 * @param name The name as an archive or a server gives it, with `/` between its parts.
 * @param source What gave the name, for the error.
 * @throws {FormatError} where the name is empty, absolute, or leads out of the folder on any system.
 */
export function safeJoin(folder: string, name: string, source: string): string {
  const parts = name.split("/");
  const harmless = (part: string) =>
    part !== "" && part !== "." && part !== ".." && !/[\\:\p{Cc}]/u.test(part);
  if (!parts.every(harmless)) {
    throw new FormatError(
      `${source} names a file ${JSON.stringify(name)}, which would not stay in its folder.`,
    );
  }
  return join(folder, ...parts);
}
