/** `eval.ts`: lets a model describe every picture of a folder. */

import { join } from "@std/path";
import { modelFolder, requireRoot } from "../data/model_folder.ts";
import { decodePicture } from "../data/picture.ts";
import { type ChatModel, loadChatModel } from "../data/vlm_folder.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import { Gpu } from "../kernels/runtime/gpu.ts";
import { Decoder } from "../model/decoder.ts";
import { encodePrompt } from "../model/prompt.ts";
import { Random } from "../model/random.ts";
import { TokenStream } from "../model/tokenizer.ts";
import { weightPath } from "../train/settings.ts";
import { integer, number, path, text, zeroOrOne } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";

const MODEL = "Model";
const ANSWER = "Answer";

/** The options of `eval.ts`: the original's, and a few more. */
export const options = {
  root: path({ section: MODEL, help: "Folder laid out as MiniMind-V's.", default: "." }),
  load_from: path({
    section: MODEL,
    help: "model for the weights in --save_dir, or a folder in transformers' format.",
    default: "model",
  }),
  save_dir: path({ section: MODEL, help: "Folder of the weights.", defaultText: "out" }),
  weight: text({
    section: MODEL,
    help: "Name of the weights.",
    default: "sft_vlm",
    placeholder: "NAME",
  }),
  hidden_size: integer({
    section: MODEL,
    help: "Width of the language model.",
    default: 512,
    min: 1,
  }),
  num_hidden_layers: integer({
    section: MODEL,
    help: "Layers of the language model.",
    defaultText: "read from the weights",
    min: 1,
  }),
  use_moe: zeroOrOne({
    section: MODEL,
    help: "Whether it is a mixture of experts.",
    default: false,
  }),
  vision_path: path({
    section: MODEL,
    help: "Folder of the CLIP vision tower.",
    defaultText: "model/vision_model/clip-vit-base-patch16",
  }),
  device: text({
    section: MODEL,
    help: "Adapter: gpu, software, or a piece of its name.",
    default: "gpu",
    placeholder: "NAME",
  }),
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
    default: 512,
    min: 1,
  }),
  temperature: number({
    section: ANSWER,
    help: "How much chance there is; 0 takes the likeliest token.",
    default: 0.65,
    min: 0,
  }),
  top_p: number({
    section: ANSWER,
    help: "Only the likeliest tokens with this probability together.",
    default: 0.85,
    min: 0,
    max: 1,
  }),
  top_k: integer({
    section: ANSWER,
    help: "Only this many of the likeliest tokens; 0 for all.",
    default: 50,
    min: 0,
  }),
  seed: integer({ section: ANSWER, help: "Seed of each answer.", default: 2026, min: 0 }),
};

/** Describes the pictures, one after the other. */
export async function run(args: readonly string[]): Promise<number> {
  const o = parseOptions(options, args);
  await requireRoot(o.root);
  const folder = modelFolder(o.root, { out: o.save_dir, vision: o.vision_path });
  const native = o.load_from === "model";
  const images = o.image_dir ?? join(folder.dataset, "eval_images");
  const names = await pictureNames(images);
  using gpu = await Gpu.open(o.device);
  using model = await loadChatModel(gpu, {
    weights: native ? weightPath(folder.out, o.weight, o.hidden_size, o.use_moe) : o.load_from,
    tokenizer: native ? folder.tokenizer : o.load_from,
    vision: folder.vision,
    language: native
      ? {
        hidden_size: o.hidden_size,
        use_moe: o.use_moe,
        ...(o.num_hidden_layers !== undefined && { num_hidden_layers: o.num_hidden_layers }),
      }
      : {},
  });
  const question = o.prompt.includes("<image>") ? o.prompt : `<image>\n\n${o.prompt}`;
  console.log(`${gpu.info.name}: ${(model.vlm.parameters.count / 1e6).toFixed(2)} M parameters`);
  for (const name of names) {
    console.log(`[${name}]`);
    console.log(`👶: ${question.replaceAll("\n", "\\n")}`);
    await write("🤖️: ");
    const answer = describe(model, join(images, name), question, {
      maxNewTokens: o.max_new_tokens,
      temperature: o.temperature,
      topP: o.top_p,
      topK: o.top_k,
      random: new Random(o.seed),
      stopIds: [model.tokenizer.eosId],
    });
    for await (const piece of answer) await write(piece);
    console.log("\n");
  }
  return 0;
}

type Options = Parameters<Decoder["generate"]>[0];

/** The answer to a question about a picture, piece by piece. */
async function* describe(
  { vlm, tokenizer, template, processor }: ChatModel,
  path: string,
  question: string,
  options: Options,
): AsyncGenerator<string, void, void> {
  const pixels = processor.process(await decodePicture(path));
  const messages = [{ role: "user", content: question }];
  const prompt = encodePrompt(tokenizer, template, messages, vlm.tokensPerPicture);
  const count = prompt.pictureCount;
  const pictures = new Uint8Array(count * pixels.length);
  for (let i = 0; i < count; i++) pictures.set(pixels, i * pixels.length);
  using decoder = new Decoder(vlm, prompt.ids.length + options.maxNewTokens);
  {
    using _scope = vlm.gpu.scope();
    decoder.read(prompt, count > 0 ? vlm.encodePictures(pictures, count) : undefined);
  }
  const stream = new TokenStream(tokenizer, { skipSpecialTokens: true });
  for await (const id of decoder.generate(options)) yield stream.push(id);
  yield stream.flush();
}

async function pictureNames(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  } catch (error) {
    throw new GlimpseError(
      `Cannot read the pictures' folder ${folder}: ${(error as Error).message}`,
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
