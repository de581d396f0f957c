/** `deno task inspect`: what is in a data set, and what the model gets of a row. */

import { join } from "@std/path";
import { type DatasetSource, VlmDataset } from "../data/dataset.ts";
import { writeFileAtomic } from "../data/files.ts";
import { inspectData } from "../data/inspect.ts";
import { inspectSample } from "../data/inspect_sample.ts";
import {
  loadClipConfig,
  loadImageProcessor,
  loadTokenizer,
  modelFolder,
} from "../data/model_folder.ts";
import { picturesBeside } from "../data/picture_source.ts";
import { encodePng } from "../data/png.ts";
import { DataError, UsageError } from "../kernels/runtime/errors.ts";
import { pictureTokens } from "../model/config.ts";
import { inspectPage, type PageSample } from "./inspect_page.ts";
import { reportText, sampleText } from "./inspect_text.ts";
import { choice, integer, path, positional } from "./option_kinds.ts";
import { type OptionValues, parseOptions } from "./options.ts";

/** The options of `inspect`. */
export const options = {
  data: positional(path({ help: "The data: .jsonl, .json (LLaVA), .csv, .tsv or .parquet." })),
  images_path: path({
    help: "Folder or zip archive of the pictures.",
    defaultText: "x_images beside x_data.jsonl, else the data's folder",
  }),
  root: path({ help: "Folder laid out as MiniMind-V's.", default: "." }),
  tokenizer_path: path({ help: "Folder of the tokenizer.", defaultText: "model" }),
  vision_path: path({
    help: "Folder of the vision tower; without its files, CLIP ViT-B/16 is taken for granted.",
    defaultText: "model/vision_model/clip-vit-base-patch16",
  }),
  max_seq_len: integer({ help: "Tokens after which a sample is cut off.", default: 640, min: 2 }),
  rows: integer({
    help: "Rows to look at, spread evenly over the file rather than its first, always the same.",
    defaultText: "all",
    min: 1,
  }),
  pictures: choice(["none", "size", "decode"], {
    help: "Whether pictures are left alone, measured, or decoded to the last pixel.",
    default: "size",
  }),
  row: integer({ help: "Show one row, from 1, token by token.", min: 1 }),
  html: path({ help: "Write the report as a page." }),
  samples: integer({ help: "Rows that the page shows.", default: 8, min: 0 }),
};

type Given = OptionValues<typeof options>;

/** Inspects. */
export async function run(args: readonly string[]): Promise<number> {
  const given = parseOptions(options, args);
  const source = await sourceOf(given);
  if (given.row !== undefined) {
    using dataset = VlmDataset.open(source);
    if (given.row > dataset.length) {
      throw new UsageError(`--row is ${given.row}, and ${given.data} has ${dataset.length} rows.`);
    }
    const sample = await inspectSample(dataset, given.row - 1);
    console.log(sampleText(sample, Deno.stdout.isTerminal()));
    return 0;
  }
  const report = await inspectData(source, {
    rows: given.rows,
    pictures: given.pictures,
    moved: progress(),
  });
  console.log(reportText(given.data, report, source.maxLength));
  if (given.html !== undefined) {
    const samples = await pageSamples(source, given.samples);
    await writeFileAtomic(
      given.html,
      inspectPage(given.data, report, source.maxLength, samples),
    );
    console.log(`\nThe page is ${given.html}.`);
  }
  return report.bad > 0 ? 1 : 0;
}

async function sourceOf(given: Given): Promise<DatasetSource> {
  const folder = modelFolder(given.root, {
    ...(given.tokenizer_path !== undefined && { tokenizer: given.tokenizer_path }),
    ...(given.vision_path !== undefined && { vision: given.vision_path }),
  });
  const hasVision = await Deno.stat(join(folder.vision, "config.json")).then(
    () => true,
    () => false,
  );
  const [{ files }, vision] = await Promise.all([
    loadTokenizer(folder.tokenizer),
    !hasVision && given.vision_path === undefined ? undefined : Promise.all([
      loadImageProcessor(folder.vision),
      loadClipConfig(folder.vision),
    ]),
  ]);
  return {
    dataPath: given.data,
    imagesPath: given.images_path ?? picturesBeside(given.data),
    tokenizer: files,
    maxLength: given.max_seq_len,
    ...(vision && { preprocessor: vision[0].config, tokensPerPicture: pictureTokens(vision[1]) }),
  };
}

async function pageSamples(source: DatasetSource, wanted: number): Promise<PageSample[]> {
  using dataset = VlmDataset.open(source);
  const count = Math.min(wanted, dataset.length);
  const samples: PageSample[] = [];
  for (let i = 0; i < count; i++) {
    try {
      const sample = await inspectSample(dataset, Math.floor(i * dataset.length / count));
      const pictures = sample.pictures.map(({ pixels }) =>
        encodePng(pixels, dataset.processor.size)
      );
      samples.push({ sample, pictures: await Promise.all(pictures) });
    } catch (error) {
      if (!(error instanceof DataError)) throw error; // the report tells of rows that are bad
    }
  }
  return samples;
}

function progress(): (done: number, total: number) => void {
  const terminal = Deno.stderr.isTerminal();
  let shownAt = performance.now();
  return (done, total) => {
    const last = done === total - 1;
    if (performance.now() - shownAt < (terminal ? 200 : 10_000) && !last) return;
    shownAt = performance.now();
    const line = last ? "" : `${done} of ${total} rows`;
    if (terminal) Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[2K${line}`));
    else if (!last) console.error(line);
  };
}
