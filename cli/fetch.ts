/** `deno task fetch`: brings models and data sets from a hub to where the trainer looks for them. */

import { join } from "@std/path";
import { BUNDLES, CATALOG } from "../data/fetch/catalog.ts";
import { fetchFiles, type Transfer, transfersTo } from "../data/fetch/fetch_files.ts";
import { Http, originOf } from "../data/fetch/http.ts";
import { huggingFace, modelScope } from "../data/fetch/hubs.ts";
import { findFiles, type Hub, selectFiles } from "../data/fetch/repository.ts";
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { entry } from "./help_text.ts";
import { suggestion } from "./nearest.ts";
import { choice, flag, integer, list, path, positional, text } from "./option_kinds.ts";
import { type OptionValues, parseOptions } from "./options.ts";
import { bytesText, TransferReport } from "./transfer_report.ts";

const REPOSITORY = "Any repository (OWNER/NAME)";

/** The options of `fetch`. */
export const options = {
  what: positional(list({
    help: "Names of the list that the command shows without any, or OWNER/NAME.",
    default: [] as readonly string[],
    placeholder: "NAME",
  })),
  root: path({ help: "Folder laid out as MiniMind-V's.", default: "." }),
  source: choice(["huggingface", "modelscope"], {
    help: "Where to fetch from. HF_ENDPOINT names a mirror of Hugging Face.",
    default: "huggingface",
  }),
  revision: text({ help: "Branch, tag or commit.", defaultText: "main", placeholder: "NAME" }),
  repo_type: choice(["model", "dataset"], {
    section: REPOSITORY,
    help: "What the repository holds.",
    default: "model",
  }),
  include: list({
    section: REPOSITORY,
    help: "Patterns of the files to fetch, such as '*.json'.",
    default: [] as readonly string[],
    defaultText: "all",
  }),
  exclude: list({
    section: REPOSITORY,
    help: "Patterns of files to leave.",
    default: [] as readonly string[],
    defaultText: "none",
  }),
  to: path({
    section: REPOSITORY,
    help: "Folder for the files.",
    defaultText: "NAME below the root",
  }),
  jobs: integer({ help: "Files at once.", default: 4, min: 1, max: 16 }),
  retries: integer({ help: "Tries after one that failed.", default: 6, min: 0, max: 100 }),
  force: flag({ help: "Replace files that are there but differ." }),
  dry_run: flag({ help: "Show what would be fetched." }),
};

type Given = OptionValues<typeof options>;

/** Fetches what is named. */
export async function run(args: readonly string[]): Promise<number> {
  const given = parseOptions(options, args);
  if (given.what.length === 0) {
    console.log(listing());
    return 0;
  }
  const names = [...new Set(given.what.flatMap((name) => BUNDLES[name] ?? [name]))];
  for (const name of names) checkName(name, given);
  const hub = given.source === "huggingface"
    ? huggingFace(Deno.env.get("HF_ENDPOINT") || undefined)
    : modelScope();
  if (!URL.canParse(hub.endpoint)) {
    throw new UsageError(`HF_ENDPOINT is "${hub.endpoint}", which is not an address.`);
  }
  const encoder = new TextEncoder();
  const report = new TransferReport(
    Deno.stdout.isTerminal(),
    (line) => void Deno.stdout.writeSync(encoder.encode(line)),
  );
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  Deno.addSignalListener("SIGINT", interrupt);
  const http = new Http({
    token: given.source === "huggingface" ? Deno.env.get("HF_TOKEN") || undefined : undefined,
    tokenFor: originOf(hub.endpoint),
    retries: given.retries,
    signal: stop.signal,
    onRetry: (why, after) => report.say(`${why} Again in ${(after / 1000).toFixed(1)} s.`),
  });
  try {
    const transfers: Transfer[] = [];
    for (const name of names) transfers.push(...await transfersOf(name, given, hub, http));
    if (given.dry_run) {
      for (const { file, path } of transfers) console.log(`${path} (${bytesText(file.size)})`);
      return 0;
    }
    const { jobs, force } = given;
    const count = await fetchFiles(transfers, http, { jobs, force, listener: report });
    report.say(`${count} of ${transfers.length} files fetched, the others were there.`);
    return 0;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    report.end();
    report.say("Stopped. The same command goes on from here.");
    return 130;
  } finally {
    report.end();
    Deno.removeSignalListener("SIGINT", interrupt);
  }
}

function checkName(name: string, { to, include, exclude }: Given): void {
  const known = Object.hasOwn(CATALOG, name);
  if (!known && !name.includes("/")) {
    const hint = suggestion(name, [...Object.keys(CATALOG), ...Object.keys(BUNDLES)]);
    throw new UsageError(`There is no ${name} to fetch.${hint} Others are named OWNER/NAME.`);
  }
  if (known && (to !== undefined || include.length > 0 || exclude.length > 0)) {
    throw new UsageError(`--to, --include and --exclude go with OWNER/NAME, not with ${name}.`);
  }
}

async function transfersOf(name: string, given: Given, hub: Hub, http: Http): Promise<Transfer[]> {
  const known = Object.hasOwn(CATALOG, name) ? CATALOG[name] : undefined;
  const id = known ? known[given.source] : name;
  const type = known?.type ?? given.repo_type;
  const all = await hub.list({ id, type, revision: given.revision }, http);
  const files = known
    ? findFiles(all, known.files, id)
    : selectFiles(all, given.include, given.exclude);
  if (files.length === 0) {
    const has = all.slice(0, 20).map(({ path }) => path).join(", ");
    throw new GlimpseError(`No file of ${id} fits --include. It has ${has || "no files"}.`);
  }
  const folder = known
    ? join(given.root, known.folder)
    : given.to ?? join(given.root, id.split("/")[1]!);
  return transfersTo(files, folder, `${hub.endpoint}/${id}`);
}

function listing(): string {
  return [
    "What there is to fetch by name (deno task fetch NAME,NAME…)\n",
    ...Object.entries(CATALOG).map(([name, { summary }]) => entry(name, summary)),
    ...Object.entries(BUNDLES).map(([name, parts]) => entry(name, `${parts.join(", ")}.`)),
    "\nAny other repository: deno task fetch OWNER/NAME --include '*.json'",
  ].join("\n");
}
