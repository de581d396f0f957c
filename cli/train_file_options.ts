/** Which files a command that trains reads and writes. */

import { fileName, type Option, path, text } from "./option_kinds.ts";
import type { TrainPreset } from "./train_presets.ts";

/** What the rows of a command's data are. */
const DATA: Readonly<Record<TrainPreset["model"], string>> = {
  vlm: "Conversations about pictures",
  llm: "Texts or conversations",
  clip: "Pictures with captions",
};

const FILES = "Files";

/** The options of its files. */
// deno-lint-ignore explicit-module-boundary-types
export function fileOptions(preset: TrainPreset) {
  return {
    root: path({
      section: FILES,
      help: "Folder laid out as MiniMind-V's: out, model, dataset, checkpoints.",
      default: ".",
    }),
    data_path: path({
      section: FILES,
      help: `${DATA[preset.model]}: .jsonl, .json (LLaVA), .csv, .tsv or .parquet.`,
      defaultText: `dataset/${preset.data}_data.jsonl`,
    }),
    images_path: path({
      section: FILES,
      help: "Folder of the pictures that they name, or a zip archive.",
      defaultText: `dataset/${preset.data}_images`,
    }),
    save_dir: path({ section: FILES, help: "Folder of the weights.", defaultText: "out" }),
    tokenizer_path: path({
      section: FILES,
      help: "Folder of the tokenizer.",
      defaultText: "model",
    }),
    vision_path: path({
      section: FILES,
      help: preset.model === "clip"
        ? "Folder of a CLIP to begin with: its sizes and, where it has some, its weights."
        : "Folder of the CLIP vision tower.",
      defaultText: "model/vision_model/clip-vit-base-patch16",
    }),
    checkpoints_path: path({
      section: FILES,
      help: "Folder of metrics and checkpoints.",
      defaultText: "checkpoints",
    }),
    save_weight: fileName({
      section: FILES,
      help: preset.model === "clip"
        ? "Name of the folder that is saved."
        : "Name of the weights that are saved; size and ending are added.",
      default: preset.saveWeight,
    }),
    from_weight: text({
      section: FILES,
      help: preset.model === "clip"
        ? "vision for the weights of the vision folder, where it has some; none for new ones."
        : "Name of the weights to begin with; none for new ones.",
      default: preset.fromWeight,
      placeholder: "NAME",
    }),
    metrics: path({
      section: FILES,
      help: "Metrics file, one JSON line an update.",
      defaultText: `checkpoints/{weight}${
        preset.model === "clip" ? "" : "_{hidden}"
      }_metrics.jsonl`,
    }),
  } satisfies Record<string, Option<unknown>>;
}
