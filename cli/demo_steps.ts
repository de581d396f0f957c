/** The steps of the demo: the commands that users type, and whether each has been done. */

import { join } from "@std/path";
import { writeFileAtomic } from "../data/files.ts";
import { shellWord } from "../train/shell_words.ts";

/** A command of the demo. */
export interface DemoStep {
  /** What it does, in a sentence. */
  readonly title: string;
  /** What is typed after `deno task`. */
  readonly command: readonly string[];
  /** Name of the weights that it trains, if it does. */
  readonly weight?: string;
}

const WIDTH = 96;

/** The commands that take a folder with a small world to a model that sees. */
export function demoSteps(root: string, seed: number, device: string): DemoStep[] {
  const dataset = join(root, "dataset");
  const common = ["--root", root, "--hidden_size", `${WIDTH}`, "--device", device];
  const training = [
    ...common,
    ...["--seed", `${seed}`, "--learning_rate", "1.5e-3", "--adam_beta2", "0.95"],
    ...["--epochs", "1", "--max_seq_len", "192", "--num_workers", "1", "--log_interval", "50"],
  ];
  const seeing = [
    ...training,
    ...["--freeze_llm", "0", "--freeze_vision", "0", "--batch_size", "8", "--warmup_steps", "60"],
  ];
  return [
    {
      title: "A tokenizer is learnt from the texts and dialogues.",
      command: [
        "tokenizer",
        ...["--root", root, "--vocab_size", "512", "--data_path"],
        ["pretrain_llm_data.jsonl", "sft_data.jsonl"].map((name) => join(dataset, name)).join(","),
      ],
    },
    {
      title: "A language model learns from text alone.",
      command: [
        "pretrain-llm",
        ...training,
        ...["--save_weight", "llm", "--num_hidden_layers", "2", "--batch_size", "16"],
        ...["--accumulation_steps", "1", "--warmup_steps", "10"],
      ],
      weight: "llm",
    },
    {
      title: "A vision tower and a projection are joined to it, and all learn from captions.",
      command: ["pretrain", ...seeing],
      weight: "pretrain_vlm",
    },
    {
      title: "All learn from dialogues about the pictures.",
      command: ["sft", ...seeing],
      weight: "sft_vlm",
    },
  ];
}

/** The name under which a step is remembered. */
export function nameOf({ command, weight }: DemoStep): string {
  return weight ?? command[0]!;
}

/** Commands that show more of the demo's model, a line each. */
export function nextCommands(root: string): string {
  const model = `--root ${shellWord(root)} --hidden_size ${WIDTH}`;
  return [
    `deno task eval ${model} --temperature 0 --prompt 'Describe the picture.'`,
    `deno task chat ${model} --temperature 0`,
    `deno task serve ${model}`,
  ].join("\n");
}

/** Width of the demo's language model. */
export const DEMO_WIDTH: number = WIDTH;

/** What the file holds. */
interface Saved {
  readonly settings?: string;
  /** Steps that are done, and the seconds that each took. */
  readonly done?: Readonly<Record<string, number>>;
  /** The step that has begun, and the seconds that it took until it was interrupted. */
  readonly begun?: { readonly name: string; readonly seconds: number } | undefined;
}

/** Remembers in a file which steps of which demo have been done. */
export class DemoProgress {
  readonly #path: string;
  readonly #settings: string;
  readonly #done: Map<string, number>;
  #begun: Saved["begun"];

  private constructor(path: string, settings: string, { done = {}, begun }: Saved) {
    this.#path = path;
    this.#settings = settings;
    this.#done = new Map(Object.entries(done));
    this.#begun = begun;
  }

  /** Reads what has been done in a folder with these settings; after others nothing counts. */
  static async open(root: string, settings: unknown): Promise<DemoProgress> {
    const path = join(root, "demo.json");
    const text = JSON.stringify(settings);
    try {
      const found: Saved = JSON.parse(await Deno.readTextFile(path));
      if (found.settings === text) return new DemoProgress(path, text, found);
    } catch {
      // there is none, or it is broken: all steps are to be done
    }
    return new DemoProgress(path, text, {});
  }

  /**
   * Does a step unless it has been done.
   *
   * @param action Does it and resolves to its exit status; it hears whether it had begun before.
   * @returns The status; a step that ended with 0 is not done again.
   */
  async step(name: string, action: (begun: boolean) => Promise<number>): Promise<number> {
    if (this.#done.has(name)) return 0;
    const before = this.#begun?.name === name ? this.#begun : undefined;
    this.#begun = before ?? { name, seconds: 0 };
    await this.#write();
    const start = performance.now();
    const status = await action(before !== undefined);
    const seconds = this.#begun.seconds + (performance.now() - start) / 1000;
    if (status === 0) this.#done.set(name, seconds);
    this.#begun = status === 0 ? undefined : { name, seconds };
    await this.#write();
    return status;
  }

  /** Seconds that each step took that has been done, with what was interrupted. */
  get seconds(): ReadonlyMap<string, number> {
    return this.#done;
  }

  async #write(): Promise<void> {
    const done = Object.fromEntries(this.#done);
    const content = { settings: this.#settings, done, begun: this.#begun };
    await writeFileAtomic(this.#path, JSON.stringify(content, null, 2) + "\n");
  }
}
