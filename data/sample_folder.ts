/** A small folder laid out as MiniMind-V's, made from a seed: random weights, pictures, captions. */

import { join } from "@std/path";
import { UsageError } from "../kernels/runtime/errors.ts";
import { byteTokenizer } from "../model/byte_tokenizer.ts";
import { clipVisionSpecs } from "../model/clip_vision.ts";
import { type ClipVisionConfig, type MiniMindConfig, miniMindConfig } from "../model/config.ts";
import { elementCount, type HostTensor, hostTensor } from "../model/host_tensor.ts";
import { clipPreprocessor } from "../model/image_processor.ts";
import { miniMindSpecs } from "../model/minimind.ts";
import { drawInitial, type ParameterSpec } from "../model/parameters.ts";
import { pthChunks } from "../model/pth_writer.ts";
import { Random } from "../model/random.ts";
import { safetensorsChunks } from "../model/safetensors.ts";
import type { RgbPicture } from "./bmp.ts";
import { writeFileAtomic } from "./files.ts";
import { modelFolder } from "./model_folder.ts";
import { type CaptionedPicture, drawCaptionedPicture } from "./sample_picture.ts";

/** How large the sample is. */
export interface SampleSizes {
  /** Where all random numbers start. */
  readonly seed: number;
  /** Rows to train with, each with a picture of its own. */
  readonly rows: number;
  /** Pictures to look at afterwards, none of which is trained with. */
  readonly evalPictures: number;
  /** Width of the language model. */
  readonly hiddenSize: number;
  /** Blocks of the language model. */
  readonly layers: number;
  /** Width of the vision encoder, a multiple of 64. */
  readonly visionHiddenSize: number;
  /** Blocks of the vision encoder. */
  readonly visionLayers: number;
}

/** What {@linkcode makeSampleFolder} found and did. */
export interface SampleFolder {
  /** The files of the sample, from the folder on. */
  readonly files: readonly string[];
  /** Whether they were written; if not, all were there. */
  readonly written: boolean;
}

type Content = string | Uint8Array | AsyncIterable<Uint8Array>;

/** Height and width of a picture in pixels. */
const PICTURE_SIZE = 112;

/** Questions, in pairs of Chinese and English. The first in Chinese is what `eval.ts` asks. */
const QUESTIONS: readonly [string, string][] = [
  [
    "仔细看一下这张图：\n\n<image>\n\n描述一下这个图像的内容。",
    "Look at this picture:\n\n<image>\n\nDescribe what it shows.",
  ],
  ["图中有什么？\n<image>", "What is in the picture?\n<image>"],
  ["<image> 请描述这张图片。", "<image> Please describe the picture."],
];

/**
 * Makes the folder, unless it is there already.
 *
 * @param force Writes over what is there.
 * @throws {UsageError} Some of its files are there and others are not, or they are another sample's.
 */
export async function makeSampleFolder(
  root: string,
  sizes: SampleSizes,
  force = false,
): Promise<SampleFolder> {
  const contents = sampleFiles(root, sizes);
  const files = [...contents.keys()];
  const present = await Array.fromAsync(files, exists);
  const found = files.filter((_, i) => present[i]);
  const whole = found.length === files.length;
  const [other] = whole ? await Array.fromAsync(differing(contents)) : found;
  if (!force && other !== undefined) {
    throw new UsageError(
      `${other} is there already and would be overwritten; name another folder, or give --force.`,
    );
  }
  if (!force && whole) return { files, written: false };
  for (const [path, content] of contents) await writeFileAtomic(path, await content());
  return { files, written: true };
}

/** Rows and configurations that are not this sample's. */
async function* differing(
  contents: ReadonlyMap<string, () => Content | Promise<Content>>,
): AsyncGenerator<string> {
  for (const [path, content] of contents) {
    if (!/\.jsonl?$/.test(path)) continue;
    if (await content() !== await Deno.readTextFile(path)) yield path;
  }
}

/** Each file's path and what makes its content. */
function sampleFiles(
  root: string,
  sizes: SampleSizes,
): Map<string, () => Content | Promise<Content>> {
  const { out, tokenizer, vision, dataset } = modelFolder(root);
  const random = new Random(sizes.seed);
  const { language, clip } = sampleConfigs(sizes);
  const { tokenizer: vocabulary, config } = byteTokenizer();
  const weights = `llm_${sizes.hiddenSize}`;
  const draw = (name: string): CaptionedPicture =>
    drawCaptionedPicture(random.fork(name), PICTURE_SIZE);
  const training = numbered("shape", sizes.rows);

  return new Map<string, () => Content | Promise<Content>>([
    [
      join(out, `${weights}.pth`),
      () =>
        pthChunks(
          randomTensors(miniMindSpecs(language), random, "float16"),
          weights,
          new Map([["lm_head.weight", "model.embed_tokens.weight"]]),
        ),
    ],
    [join(tokenizer, "tokenizer.json"), () => json(vocabulary)],
    [join(tokenizer, "tokenizer_config.json"), () => json(config)],
    [
      join(vision, "config.json"),
      () => json({ model_type: "clip_vision_model", num_channels: 3, ...clip }),
    ],
    [join(vision, "preprocessor_config.json"), () => json(clipPreprocessor(224))],
    [
      join(vision, "model.safetensors"),
      () =>
        safetensorsChunks(randomTensors(clipVisionSpecs(clip), random, "float32"), {
          format: "pt",
        }),
    ],
    [join(dataset, "pretrain_data.jsonl"), () => sampleRows(training, draw)],
    ...training.map((name) => picture(join(dataset, "pretrain_images", name), () => draw(name))),
    ...numbered("unseen", sizes.evalPictures).map((name, i) => {
      const drawn = draw(name);
      const caption = drawn.en.toLowerCase().replaceAll(/\W+/g, "_");
      return picture(
        join(dataset, "eval_images", `${i + 1}_${caption.slice(0, -1)}.png`),
        () => drawn,
      );
    }),
  ]);
}

function numbered(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${kind}_${`${i}`.padStart(4, "0")}.png`);
}

function picture(path: string, draw: () => CaptionedPicture): [string, () => Promise<Content>] {
  return [path, () => encodePng(draw().picture)];
}

function sampleConfigs(
  { hiddenSize, layers, visionHiddenSize, visionLayers }: SampleSizes,
): { language: MiniMindConfig; clip: ClipVisionConfig } {
  return {
    language: miniMindConfig({ hidden_size: hiddenSize, num_hidden_layers: layers }),
    clip: {
      hidden_size: visionHiddenSize,
      intermediate_size: 4 * visionHiddenSize,
      num_hidden_layers: visionLayers,
      num_attention_heads: Math.max(4, visionHiddenSize / 64),
      image_size: 224,
      patch_size: 16,
      hidden_act: "quick_gelu",
      layer_norm_eps: 1e-5,
    },
  };
}

/** Tensors with values drawn when they are read: the same whatever the order. */
function* randomTensors(
  specs: readonly ParameterSpec[],
  random: Random,
  dtype: "float16" | "float32",
): Generator<HostTensor> {
  for (const { name, shape, initial } of specs.flatMap(({ parts }) => parts)) {
    const read = (): Promise<Uint8Array<ArrayBuffer>> => {
      const values = drawInitial(initial, elementCount(shape), random.fork(name));
      return hostTensor(name, shape, values, dtype).read();
    };
    yield { name, shape, dtype, read };
  }
}

/** The rows of the data set, one JSON a line, in Chinese and English by turns. */
function sampleRows(images: readonly string[], draw: (name: string) => CaptionedPicture): string {
  return images.map((image, i) => {
    const language = i % 2 === 0 ? "zh" : "en";
    const [chinese, english] = QUESTIONS[Math.floor(i / 2) % QUESTIONS.length]!;
    const conversations = [
      { role: "user", content: language === "zh" ? chinese : english },
      { role: "assistant", content: draw(image)[language] },
    ];
    return `${JSON.stringify({ conversations, image })}\n`;
  }).join("");
}

async function encodePng({ width, height, channels, data }: RgbPicture): Promise<Uint8Array> {
  const { default: sharp } = await import("sharp");
  return await sharp(data, { raw: { width, height, channels } }).png().toBuffer();
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, (error: unknown) => {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  });
}
