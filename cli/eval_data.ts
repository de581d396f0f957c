/** `eval.ts --data_path`: measures a model, or two, on a data set. */

import { basename } from "@std/path";
import { VlmDataset } from "../data/dataset.ts";
import { requireWritable } from "../data/files.ts";
import { loadClipConfig, loadImageProcessor, loadTokenizer } from "../data/model_folder.ts";
import { openGpu } from "../data/open_gpu.ts";
import { spreadRows } from "../data/order.ts";
import { picturesBeside } from "../data/picture_source.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { patchCount } from "../model/config.ts";
import { evaluate } from "../train/evaluation/evaluate.ts";
import {
  type Measured,
  summarize,
  type Summary,
  summaryCells,
  summaryJson,
} from "../train/evaluation/summary.ts";
import { progress, tableText, writeResults } from "./eval_output.ts";
import { chosenFolder, loadChosen, type ModelChoice } from "./model_options.ts";
import { flag, integer, path, text, zeroOrOne } from "./option_kinds.ts";
import type { OptionValues } from "./options.ts";

const DATA = "Data set";

/** The options of a data set's evaluation. */
export const dataOptions = {
  data_path: path({
    section: DATA,
    help:
      "Measure on these data instead: what training reads, MMStar's, POPE's or VQA's files, or questions.",
  }),
  images_path: path({
    section: DATA,
    help: "Folder or zip archive of their pictures.",
    defaultText: "x_images beside x_data.jsonl, else the data's folder",
  }),
  rows: integer({
    section: DATA,
    help: "Rows to take, spread evenly over the file rather than its first, always the same.",
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
  out: path({ section: DATA, help: "Folder for the results: JSON, Markdown, a page." }),
  json: flag({ section: DATA, help: "Print results.json instead of the table." }),
};

type Given = OptionValues<typeof dataOptions> & ModelChoice & {
  readonly max_new_tokens: number | undefined;
  readonly seed: number;
  readonly on_bad_sample: "stop" | "skip";
};

/** Tokens of an answer at most, unless told otherwise. */
const MOST_TOKENS = 128;

/** Rows that could not be used which are named; the results name all. */
const SHOWN = 20;

/** Measures. */
export async function evaluateData(given: Given, dataPath: string): Promise<number> {
  using dataset = await openDataset(given, dataPath);
  if (given.out !== undefined) await requireWritable(given.out);
  const rows = spreadRows(dataset.length, given.rows);
  using gpu = await openGpu(given.device);
  const skipped: string[] = [];
  const models: Measured[] = [];
  const chosen = choices(given), names = namesOf(chosen);
  for (const [i, choice] of chosen.entries()) {
    using model = await loadChosen(gpu, choice);
    const name = names[i]!;
    const items = await evaluate(model, dataset, {
      rows,
      batchSize: given.batch_size,
      generate: given.generate,
      blind: given.blind,
      maxNewTokens: given.max_new_tokens ?? MOST_TOKENS,
      onSkip: (error) => {
        if (given.on_bad_sample === "stop") throw error;
        if (i === 0) skipped.push(error.message);
      },
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
      dtype: given.dtype,
      quantize: given.quantize,
      seed: given.seed,
    },
    models: models.map(({ name }) => name),
    measures: summarize(models, given.seed),
  };
  const json = summaryJson(summary, models);
  console.log(given.json ? json : tableText(summaryCells(summary)));
  for (const why of skipped.slice(0, SHOWN)) console.error(`skipped: ${why}`);
  if (skipped.length > SHOWN) console.error(`and ${skipped.length - SHOWN} more`);
  if (given.out !== undefined) await writeResults(given.out, dataset, summary, models);
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

/** What they are called: without their folder, where that tells them apart. */
function namesOf(choices: readonly ModelChoice[]): string[] {
  const paths = choices.map(({ load_from, weight }) => load_from === "model" ? weight : load_from);
  const short = paths.map((path) => basename(path));
  return new Set(short).size === short.length ? short : paths;
}

async function openDataset(given: Given, dataPath: string): Promise<VlmDataset> {
  const folder = chosenFolder(given);
  const [{ files }, { config }, clip] = await Promise.all([
    loadTokenizer(folder.tokenizer),
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
