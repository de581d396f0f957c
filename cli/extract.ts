/** `deno task extract`: unpacks a zip archive, safely. */

import { extractZip } from "../data/extract.ts";
import { ZipArchive } from "../data/zip_archive.ts";
import { flag, path, positional } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";
import { bytesText } from "./transfer_report.ts";

/** The options of `extract`. */
export const options = {
  zip: positional(path({ help: "The archive." })),
  dir: positional(path({ help: "The folder that it is unpacked into." })),
  force: flag({ help: "Replace files that are there but differ." }),
};

/** Unpacks the archive and says how far it is. */
export async function run(args: readonly string[]): Promise<number> {
  const { zip, dir, force } = parseOptions(options, args);
  using archive = ZipArchive.open(zip);
  const terminal = Deno.stdout.isTerminal();
  const print = (text: string) => void Deno.stdout.writeSync(new TextEncoder().encode(text));
  let shownAt = performance.now();
  const moved = (bytes: number, total: number) => {
    if (performance.now() - shownAt < (terminal ? 100 : 10_000)) return;
    shownAt = performance.now();
    const line = `${bytesText(bytes)} of ${bytesText(total)} unpacked`;
    print(terminal ? `\r\x1b[2K${line}` : `${line}\n`);
  };
  const { written, present } = await extractZip(archive, dir, { force, moved });
  print(
    `${terminal ? "\r\x1b[2K" : ""}${written} files unpacked into ${dir}, ${present} were there.\n`,
  );
  return 0;
}
