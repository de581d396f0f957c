/** The small world as a folder laid out as MiniMind-V's: text, captions, dialogues, and a test. */

import { join } from "@std/path";
import { Random } from "../model/random.ts";
import { zipChunks } from "../model/zip_writer.ts";
import { encodeBmp } from "./bmp.ts";
import { WorldOfOne } from "./demo_one.ts";
import { WorldOfScenes } from "./demo_scenes.ts";
import {
  DESCRIBE,
  type Dialogue,
  type Language,
  PICTURE_SIZE,
  type Scene,
  type World,
} from "./demo_world.ts";
import { writeFileAtomic } from "./files.ts";
import { modelFolder } from "./model_folder.ts";

/** The demo's worlds. */
export const WORLDS = ["one", "scenes"] as const;

/** Which world, and how much of it. */
export interface DemoSizes {
  /** The world. */
  readonly world: typeof WORLDS[number];
  /** Where all random numbers start. */
  readonly seed: number;
  /** Lines of text for the language model. */
  readonly texts: number;
  /** Pictures with captions. */
  readonly captions: number;
  /** Dialogues, each about a picture of its own. */
  readonly dialogues: number;
  /** Test questions of each kind, each about a picture of its own. */
  readonly questions: number;
}

/** A question of the test. */
export interface TestRow {
  /** What it asks for. */
  readonly kind: string;
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

/** A part of the folder. */
export interface DemoPart {
  /** What it holds. */
  readonly name: string;
  /** Makes it, in the same way for the same sizes, and hears how many of its rows are done. */
  make(progress?: (done: number, all: number) => void): Promise<void>;
}

/** The parts of a folder with everything that the demo learns from and is tested with. */
export function demoParts(root: string, sizes: DemoSizes): DemoPart[] {
  const { vision, dataset } = modelFolder(root);
  const random = new Random(sizes.seed);
  const world = worldOf(sizes.world, random.fork("held out"));
  const rows = (name: string, pictures: boolean, count: number, row: RowMaker): DemoPart => ({
    name,
    async make(progress = () => {}) {
      const own = random.fork(name);
      const lines: string[] = [];
      const scenes = (function* () {
        for (let i = 0; i < count; i++) {
          const made = row(i, own);
          const image = `${name}_${i}.bmp`;
          lines.push(JSON.stringify(pictures ? { image, ...made.row } : made.row) + "\n");
          if (i % 100 === 99 || i + 1 === count) progress(i + 1, count);
          const picture = () => Promise.resolve(encodeBmp(made.scene.draw(own)));
          yield { name: image, read: picture };
        }
      })();
      if (pictures) await writeFileAtomic(join(dataset, `${name}_images.zip`), zipChunks(scenes));
      else for (const _ of scenes);
      await writeFileAtomic(join(dataset, `${name}_data.jsonl`), lines.join(""));
    },
  });
  const learnt = (own: Random) => world.scene(own, false);
  return [
    {
      name: "tower",
      async make() {
        await writeFileAtomic(join(vision, "config.json"), json(TOWER));
        await writeFileAtomic(join(vision, "preprocessor_config.json"), json(PREPROCESSOR));
      },
    },
    rows("pretrain_llm", false, sizes.texts, (i, own) => {
      const scene = learnt(own);
      const [asked] = dialogues(scene, language(i), 1, own);
      const caption = scene.ask(DESCRIBE, language(i), own).answer;
      return { scene, row: { text: `${caption} ${asked!.question}${asked!.answer}` } };
    }),
    rows("pretrain", true, sizes.captions, (i, own) => {
      const scene = learnt(own);
      return { scene, row: conversation([scene.ask(DESCRIBE, language(i), own)]) };
    }),
    rows("sft", true, sizes.dialogues, (i, own) => {
      const scene = learnt(own);
      return { scene, row: conversation(dialogues(scene, language(i), TURNS, own)) };
    }),
    rows("test", true, sizes.questions * world.kinds.length, (i, own) => {
      const kind = world.kinds[i % world.kinds.length]!;
      let scene = world.scene(own, true);
      while (!scene.asked.includes(kind)) scene = world.scene(own, true);
      const asked = scene.ask(kind, language(Math.floor(i / world.kinds.length)), own);
      return { scene, row: { kind, ...conversation([asked]) } };
    }),
  ];
}

/** Makes all parts. */
export async function makeDemoFolder(root: string, sizes: DemoSizes): Promise<void> {
  for (const part of demoParts(root, sizes)) await part.make();
}

type RowMaker = (index: number, random: Random) => { scene: Scene; row: object };

function worldOf(name: DemoSizes["world"], random: Random): World {
  return name === "one" ? new WorldOfOne(random) : new WorldOfScenes(random);
}

/** Questions of different kinds about a scene. */
function dialogues(scene: Scene, language: Language, count: number, random: Random): Dialogue[] {
  const kinds = new Set<string>();
  while (kinds.size < count) kinds.add(scene.asked[random.below(scene.asked.length)]!);
  return [...kinds].map((kind) => scene.ask(kind, language, random));
}

function language(i: number): Language {
  return i % 2 === 0 ? "en" : "zh";
}

function conversation(asked: readonly Dialogue[]): Pick<TestRow, "conversations"> {
  return {
    conversations: asked.flatMap(({ question, answer }, i) => [
      { role: "user", content: i === 0 ? `<image>\n${question}` : question },
      { role: "assistant", content: answer },
    ]),
  };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
