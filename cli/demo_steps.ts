/** The steps of the demo: the commands that users type, and whether each has been done. */

import { join } from "@std/path";
import { writeFileAtomic } from "../data/files.ts";

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

/** The command that lets the demo's model describe pictures. */
export function lookCommand(root: string): string {
  return `deno task eval --root ${root} --hidden_size ${WIDTH} --temperature 0 ` +
    `--prompt 'Describe the picture.'`;
}

/** Width of the demo's language model. */
export const DEMO_WIDTH: number = WIDTH;

/** What the file holds. */
interface Saved {
  readonly settings?: string;
  /** Steps that are done, and the seconds that each took. */
  readonly done?: Readonly<Record<string, number>>;
  /** The step that has begun. */
  readonly begun?: string | undefined;
}

/** Remembers in a file which steps of which demo have been done. */
export class DemoProgress {
  readonly #path: string;
  readonly #settings: string;
  readonly #done: Map<string, number>;
  #begun: string | undefined;

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
    const begun = this.#begun === name;
    this.#begun = name;
    await this.#write();
    const start = performance.now();
    const status = await action(begun);
    if (status !== 0) return status;
    this.#done.set(name, (performance.now() - start) / 1000);
    this.#begun = undefined;
    await this.#write();
    return 0;
  }

  /** Seconds that each step took, when it was last started. */
  get seconds(): ReadonlyMap<string, number> {
    return this.#done;
  }

  async #write(): Promise<void> {
    const done = Object.fromEntries(this.#done);
    const content = { settings: this.#settings, done, begun: this.#begun };
    await writeFileAtomic(this.#path, JSON.stringify(content, null, 2) + "\n");
  }
}
