/** The small world as a folder laid out as MiniMind-V's: text, captions, dialogues, and a test. */

import { join } from "@std/path";
import { Random } from "../model/random.ts";
import { zipChunks } from "../model/zip_writer.ts";
import { encodeBmp } from "./bmp.ts";
import { ask, caption, type Dialogue, dialogues, QUESTION_KINDS } from "./demo_dialogues.ts";
import type { Language, QuestionKind } from "./demo_dialogues.ts";
import { PICTURE_SIZE, type Scene, World } from "./demo_world.ts";
import { writeFileAtomic } from "./files.ts";
import { modelFolder } from "./model_folder.ts";

/** How large the demo is. */
export interface DemoSizes {
  /** Where all random numbers start. */
  readonly seed: number;
  /** Lines of text for the language model. */
  readonly texts: number;
  /** Pictures with captions. */
  readonly captions: number;
  /** Dialogues about these pictures, by turns. */
  readonly dialogues: number;
  /** Test questions of each kind, each about a picture of its own. */
  readonly questions: number;
}

/** A question of the test. */
export interface TestRow {
  /** What it asks for. */
  readonly kind: QuestionKind;
  /** Name of the picture. */
  readonly image: string;
  /** Question and answer. */
  readonly conversations: readonly { readonly role: string; readonly content: string }[];
}

/** Questions about a picture in a dialogue. */
const TURNS = 3;

/** A ViT of one layer over patches of 8 × 8 pixels, four of which make a token. */
const TOWER = {
  model_type: "clip_vision_model",
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  image_size: PICTURE_SIZE,
  patch_size: 8,
  spatial_merge_size: 2,
  num_channels: 3,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
};

const PREPROCESSOR = {
  image_processor_type: "CLIPImageProcessor",
  do_resize: true,
  size: { shortest_edge: PICTURE_SIZE },
  resample: 3,
  do_center_crop: true,
  crop_size: { height: PICTURE_SIZE, width: PICTURE_SIZE },
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.1, 0.1, 0.1],
  image_std: [0.25, 0.25, 0.25],
  do_convert_rgb: true,
};

/** Makes the folder, file by file, in the same way for the same sizes. */
export async function makeDemoFolder(root: string, sizes: DemoSizes): Promise<void> {
  const { vision, dataset } = modelFolder(root);
  const world = new World(sizes.seed);
  const random = new Random(sizes.seed).fork("dialogues");
  const scene = (name: string) => world.scene(name, false);
  const write = (name: string, content: string | AsyncIterable<Uint8Array>) =>
    writeFileAtomic(join(dataset, name), content);

  await writeFileAtomic(join(vision, "config.json"), json(TOWER));
  await writeFileAtomic(join(vision, "preprocessor_config.json"), json(PREPROCESSOR));
  await write(
    "pretrain_llm_data.jsonl",
    lines(sizes.texts, (i) => ({ text: text(scene(`text ${i}`), language(i), random) })),
  );
  const names = Array.from({ length: sizes.captions }, (_, i) => `${i}.bmp`);
  const drawn = names.map((name) => [name, scene(name)] as const);
  await write("pretrain_images.zip", pictures(world, drawn));
  await write(
    "pretrain_data.jsonl",
    lines(sizes.captions, (i) => {
      const said = ask("describe", drawn[i]![1], language(i), random);
      return { image: names[i], conversations: conversation([said]) };
    }),
  );
  await write(
    "sft_data.jsonl",
    lines(sizes.dialogues, (i) => {
      const [image, scene] = drawn[i % drawn.length]!;
      return {
        image,
        conversations: conversation(dialogues(scene, language(i + 1), TURNS, random)),
      };
    }),
  );
  const test = testScenes(world, sizes.questions);
  await write("test_images.zip", pictures(world, test.map(({ image, scene }) => [image, scene])));
  await write(
    "test_data.jsonl",
    lines(test.length, (i): TestRow => {
      const { image, scene, kind } = test[i]!;
      const asked = ask(kind, scene, language(Math.floor(i / QUESTION_KINDS.length)), random);
      return { kind, image, conversations: conversation([asked]) };
    }),
  );
}

/** Scenes of combinations that were held out, with what is asked about each. */
function testScenes(
  world: World,
  questions: number,
): { image: string; scene: Scene; kind: QuestionKind }[] {
  return Array.from({ length: questions * QUESTION_KINDS.length }, (_, i) => {
    const kind = QUESTION_KINDS[i % QUESTION_KINDS.length]!;
    const image = `test_${i}.bmp`;
    const scene = world.scene(image, true);
    const one = { ...scene, places: scene.places.slice(0, 1) };
    return { image, scene: kind === "place" ? one : scene, kind };
  });
}

function pictures(
  world: World,
  scenes: readonly (readonly [name: string, scene: Scene])[],
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  return zipChunks(scenes.map(([name, scene]) => ({
    name,
    read: () => Promise.resolve(encodeBmp(world.draw(name, scene))),
  })));
}

/** A caption, and a question about it. */
function text(scene: Scene, language: Language, random: Random): string {
  const said = dialogues(scene, language, 1, random)[0]!;
  return `${caption(scene, language)} ${said.question}${said.answer}`;
}

function language(i: number): Language {
  return i % 2 === 0 ? "en" : "zh";
}

function conversation(asked: readonly Dialogue[]): { role: string; content: string }[] {
  return asked.flatMap(({ question, answer }, i) => [
    { role: "user", content: i === 0 ? `<image>\n${question}` : question },
    { role: "assistant", content: answer },
  ]);
}

function lines(count: number, row: (i: number) => unknown): string {
  return Array.from({ length: count }, (_, i) => `${JSON.stringify(row(i))}\n`).join("");
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
