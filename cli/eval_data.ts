/** `eval.ts --data_path`: measures a model, or two, on a data set. */

import { basename, join } from "@std/path";
import { VlmDataset } from "../data/dataset.ts";
import { writeFileAtomic } from "../data/files.ts";
import {
  loadClipConfig,
  loadImageProcessor,
  loadTokenizer,
  modelFolder,
} from "../data/model_folder.ts";
import { picturesBeside } from "../data/picture_source.ts";
import { encodePng } from "../data/png.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { patchCount } from "../model/config.ts";
import { evaluate } from "../train/evaluation/evaluate.ts";
import { bestAndWorst, evaluationPage } from "../train/evaluation/page.ts";
import {
  type Measured,
  summarize,
  type Summary,
  summaryCells,
  summaryJson,
  summaryMarkdown,
} from "../train/evaluation/summary.ts";
import { loadChosen, type ModelChoice } from "./model_options.ts";
import { flag, integer, path, text, zeroOrOne } from "./option_kinds.ts";
import type { OptionValues } from "./options.ts";

const DATA = "Data set";

/** The options of a data set's evaluation. */
export const dataOptions = {
  data_path: path({
    section: DATA,
    help:
      "Measure on these data instead: what training reads, MMStar's or POPE's files, or questions.",
  }),
  images_path: path({
    section: DATA,
    help: "Folder or zip archive of their pictures.",
    defaultText: "x_images beside x_data.jsonl, else the data's folder",
  }),
  rows: integer({
    section: DATA,
    help: "Rows to take, spread evenly.",
    defaultText: "all",
    min: 1,
  }),
  max_seq_len: integer({
    section: DATA,
    help: "Tokens after which a row is cut off.",
    default: 1024,
    min: 2,
  }),
  batch_size: integer({
    section: DATA,
    help: "Rows whose losses are computed at once.",
    default: 8,
    min: 1,
  }),
  generate: zeroOrOne({
    section: DATA,
    help: "Whether the model also answers in its own words.",
    default: true,
  }),
  blind: zeroOrOne({
    section: DATA,
    help: "Whether all is measured again with the pictures exchanged.",
    default: true,
  }),
  compare: text({
    section: DATA,
    help: "Name of other weights to measure beside these (a folder with --load_from).",
    placeholder: "NAME",
  }),
  out: path({ section: DATA, help: "Folder for results.json, results.md and results.html." }),
  json: flag({ section: DATA, help: "Print results.json instead of the table." }),
};

type Given = OptionValues<typeof dataOptions> & ModelChoice & {
  readonly max_new_tokens: number | undefined;
  readonly seed: number;
};

/** Tokens of an answer at most, unless told otherwise. */
const MOST_TOKENS = 128;

/** Measures. */
export async function evaluateData(given: Given, dataPath: string): Promise<number> {
  using dataset = await openDataset(given, dataPath);
  const rows = chosenRows(dataset.length, given.rows);
  using gpu = await Gpu.open(given.device);
  const skipped: string[] = [];
  const models: Measured[] = [];
  for (const choice of choices(given)) {
    using model = await loadChosen(gpu, choice);
    const name = choice.load_from === "model" ? choice.weight : basename(choice.load_from);
    const first = models.length === 0;
    const items = await evaluate(model, dataset, {
      rows,
      batchSize: given.batch_size,
      generate: given.generate,
      blind: given.blind,
      maxNewTokens: given.max_new_tokens ?? MOST_TOKENS,
      onSkip: ({ message }) => first && skipped.push(message),
      onProgress: progress(name),
    });
    models.push({ name, items });
  }
  const summary: Summary = {
    data: basename(dataPath),
    rows: models[0]!.items.length,
    skipped,
    settings: {
      rows: given.rows ?? null,
      max_seq_len: given.max_seq_len,
      batch_size: given.batch_size,
      max_new_tokens: given.max_new_tokens ?? MOST_TOKENS,
      generate: given.generate,
      blind: given.blind,
      seed: given.seed,
    },
    models: models.map(({ name }) => name),
    measures: summarize(models, given.seed),
  };
  const json = summaryJson(summary, models);
  console.log(given.json ? json : tableText(summaryCells(summary)));
  for (const why of skipped) console.error(`skipped: ${why}`);
  if (given.out !== undefined) {
    const pictures = await shownPictures(dataset, models[0]!);
    await Deno.mkdir(given.out, { recursive: true });
    await writeFileAtomic(join(given.out, "results.json"), json);
    await writeFileAtomic(join(given.out, "results.md"), summaryMarkdown(summary));
    const page = evaluationPage(summary, models, pictures);
    await writeFileAtomic(join(given.out, "results.html"), page);
    console.error(`The results are in ${given.out}.`);
  }
  return 0;
}

/** The model that was chosen, and the one to compare it with. */
function choices(given: Given): ModelChoice[] {
  const { compare } = given;
  if (compare === undefined) return [given];
  const native = given.load_from === "model";
  if (compare === (native ? given.weight : given.load_from)) {
    throw new UsageError(`--compare names the same weights, ${compare}; name other ones.`);
  }
  return [given, { ...given, ...(native ? { weight: compare } : { load_from: compare }) }];
}

async function openDataset(given: Given, dataPath: string): Promise<VlmDataset> {
  const { root, save_dir, vision_path, load_from } = given;
  const folder = modelFolder(root, {
    ...(save_dir !== undefined && { out: save_dir }),
    ...(vision_path !== undefined && { vision: vision_path }),
  });
  const [{ files }, { config }, clip] = await Promise.all([
    loadTokenizer(load_from === "model" ? folder.tokenizer : load_from),
    loadImageProcessor(folder.vision),
    loadClipConfig(folder.vision),
  ]);
  return VlmDataset.open({
    dataPath,
    imagesPath: given.images_path ?? picturesBeside(dataPath),
    tokenizer: files,
    preprocessor: config,
    maxLength: given.max_seq_len,
    tokensPerPicture: patchCount(clip),
  });
}

function chosenRows(length: number, wanted: number = length): number[] {
  const count = Math.min(wanted, length);
  return Array.from({ length: count }, (_, i) => Math.floor(i * length / count));
}

async function shownPictures(
  dataset: VlmDataset,
  { items }: Measured,
): Promise<Map<number, Uint8Array[]>> {
  const { best, worst } = bestAndWorst(items);
  const shown = new Map<number, Uint8Array[]>();
  for (const i of [...best, ...worst]) {
    const { index } = items[i]!;
    const { pictures } = await dataset.sample(index);
    const files = pictures.map((picture) => encodePng(picture, dataset.processor.size));
    shown.set(index, await Promise.all(files));
  }
  return shown;
}

function tableText(cells: readonly (readonly string[])[]): string {
  const widths = cells[0]!.map((_, i) => Math.max(...cells.map((row) => row[i]?.length ?? 0)));
  return cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd())
    .join("\n");
}

function progress(name: string): (done: number, total: number) => void {
  const terminal = Deno.stderr.isTerminal();
  const began = performance.now();
  let shownAt = began;
  return (done, total) => {
    const now = performance.now();
    if (now - shownAt < (terminal ? 200 : 10_000) && done < total) return;
    shownAt = now;
    const left = done > 0 ? (now - began) / 1000 * (total - done) / done : NaN;
    const line = `${name}: ${done} of ${total} rows` +
      (Number.isFinite(left) && done < total ? `, ${Math.ceil(left)} s left` : "");
    if (!terminal) return done < total && console.error(line);
    const text = done < total ? line : "";
    Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[2K${text}`));
  };
}
