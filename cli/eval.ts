/** `eval.ts`: lets a model describe every picture of a folder, or measures it on a data set. */

import { join } from "@std/path";
import { reasonOf } from "../data/files.ts";
import { modelFolder } from "../data/model_folder.ts";
import { decodePicture } from "../data/picture.ts";
import { DataError, GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { describe } from "../model/describe.ts";
import { Random } from "../model/random.ts";
import { dataOptions, evaluateData } from "./eval_data.ts";
import { modelOptions, openModel, requireFolders, SAMPLING } from "./model_options.ts";
import { choice, integer, path, text } from "./option_kinds.ts";
import { type OptionValues, parseOptions } from "./options.ts";

const ANSWER = "Answer";

/** The options of `eval.ts`: the original's, and a few more. */
export const options = {
  ...modelOptions,
  image_dir: path({
    section: ANSWER,
    help: "Folder of the pictures.",
    defaultText: "dataset/eval_images",
  }),
  prompt: text({
    section: ANSWER,
    help: "What is asked; <image> stands for the picture.",
    default: "仔细看一下这张图：\n\n<image>\n\n描述一下这个图像的内容。",
    defaultText: "the original's",
  }),
  max_new_tokens: integer({
    section: ANSWER,
    help: "Tokens of an answer at most.",
    defaultText: "512; 128 on a data set",
    min: 1,
  }),
  ...SAMPLING,
  seed: integer({
    section: ANSWER,
    help: "Seed of each answer, and of intervals.",
    default: 2026,
    min: 0,
  }),
  on_bad_sample: choice(["stop", "skip"], {
    section: ANSWER,
    help: "What to do at a picture or row that cannot be used; skipped ones are named and counted.",
    default: "skip",
  }),
  ...dataOptions,
};

/** Options that only say how data are measured. */
const OF_DATA = ["images_path", "rows", "compare", "out", "json"] as const;

/** Options that only say how pictures are described, and of these those of chance, which is out at temperature 0. */
const OF_PICTURES = ["image_dir", "prompt", "temperature", "top_p", "top_k"] as const;
const OF_CHANCE: readonly string[] = Object.keys(SAMPLING);

/** Describes the pictures one after the other, or measures. */
export async function run(args: readonly string[]): Promise<number> {
  const given = parseOptions(options, args);
  const alone = given.data_path === undefined && OF_DATA.find((name) => given[name]);
  if (alone) {
    throw new UsageError(`--${alone} has no effect without --data_path; give the data too.`);
  }
  const lost = given.data_path !== undefined &&
    OF_PICTURES.find((name) =>
      given[name] !== options[name].default &&
      !(given.temperature === 0 && OF_CHANCE.includes(name))
    );
  if (lost) {
    throw new UsageError(
      `--${lost} has no effect with --data_path, whose rows are asked and answered with the likeliest tokens; leave it out.`,
    );
  }
  await requireFolders(given);
  return given.data_path === undefined
    ? await describePictures(given)
    : await evaluateData(given, given.data_path);
}

async function describePictures(given: OptionValues<typeof options>): Promise<number> {
  const folder = modelFolder(given.root);
  const images = given.image_dir ?? join(folder.dataset, "eval_images");
  const names = await pictureNames(images);
  using opened = await openModel(given);
  const { gpu, model } = opened;
  const question = given.prompt.includes("<image>") ? given.prompt : `<image>\n\n${given.prompt}`;
  console.log(`${gpu.info.name}: ${(model.vlm.parameters.count / 1e6).toFixed(2)} M parameters`);
  let skipped = 0;
  for (const name of names) {
    const picture = await decodePicture(join(images, name)).catch((error) => {
      if (!(error instanceof DataError) || given.on_bad_sample === "stop") throw error;
      console.error(`skipped: ${error.message}\n`);
      skipped++;
    });
    if (!picture) continue;
    console.log(`[${name}]`);
    console.log(`👶: ${question.replaceAll("\n", "\\n")}`);
    await write("🤖️: ");
    const answer = describe(model, picture, question, {
      maxNewTokens: given.max_new_tokens ?? 512,
      temperature: given.temperature,
      topP: given.top_p,
      topK: given.top_k,
      random: new Random(given.seed),
    });
    for await (const piece of answer) await write(piece);
    console.log("\n");
  }
  if (skipped === names.length) throw new DataError(`No picture in ${images} can be read.`);
  if (skipped > 0) console.error(`${skipped} of ${names.length} pictures could not be read.`);
  return 0;
}

async function pictureNames(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  } catch (error) {
    throw new GlimpseError(
      `Cannot read the pictures' folder ${folder}: ${reasonOf(error)}.`,
    );
  }
  const pictures = names.filter((name) => /\.(png|jpe?g|bmp|webp|gif)$/i.test(name)).sort();
  if (pictures.length === 0) throw new GlimpseError(`There is no picture in ${folder}.`);
  return pictures;
}

async function write(piece: string): Promise<void> {
  const bytes = new TextEncoder().encode(piece);
  for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
}
