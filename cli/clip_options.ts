/** Which options a command that trains offers, and those of CLIP's towers. */

import type { ContrastiveSettings } from "../train/settings.ts";
import { integer, type Option } from "./option_kinds.ts";
import type { OptionValues } from "./options.ts";
import type { TrainPreset } from "./train_presets.ts";

const SECTION = "Towers; what is not given is read from the vision folder, else that of ViT-B/16";

/** Options of CLIP's towers. */
// deno-lint-ignore explicit-module-boundary-types
export function clipOptions({ maxSeqLen }: TrainPreset) {
  const size = (help: string) => integer({ section: SECTION, help, min: 1 });
  return {
    vision_hidden_size: size("Width of the vision tower, from which MLP and heads follow."),
    vision_layers: size("Layers of the vision tower."),
    vision_heads: size("Heads of the vision tower."),
    image_size: size("Side of pictures in pixels."),
    patch_size: size("Side of patches in pixels."),
    text_hidden_size: size("Width of the text tower, from which MLP and heads follow."),
    text_layers: size("Layers of the text tower."),
    text_heads: size("Heads of the text tower."),
    context_length: integer({
      section: SECTION,
      help: "Tokens after which a caption is cut off.",
      defaultText: String(maxSeqLen),
      min: 3,
    }),
    projection_dim: size("Width of the space in which pictures and captions meet."),
    micro_batch_size: integer({
      section: "Training",
      help:
        "Pairs that go through the towers at once; a batch of more goes through twice, and needs little more memory.",
      default: 64,
      min: 1,
    }),
  } satisfies Record<string, Option<unknown>>;
}

/** What those options say. */
export function contrastiveSettings(
  o: OptionValues<ReturnType<typeof clipOptions>>,
): ContrastiveSettings {
  const tower = (hidden_size?: number, num_hidden_layers?: number, num_attention_heads?: number) =>
    given({ hidden_size, num_hidden_layers, num_attention_heads });
  return {
    sizes: {
      vision: {
        ...tower(o.vision_hidden_size, o.vision_layers, o.vision_heads),
        ...given({ image_size: o.image_size, patch_size: o.patch_size }),
      },
      text: {
        ...tower(o.text_hidden_size, o.text_layers, o.text_heads),
        ...given({ max_position_embeddings: o.context_length }),
      },
      projection_dim: o.projection_dim,
    },
    microBatch: o.micro_batch_size,
  };
}

function given<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const known = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(known) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** Options of models that predict tokens, which towers have no use for. */
const NOT_CLIP = [
  "hidden_size",
  "num_hidden_layers",
  "use_moe",
  "max_seq_len",
  "freeze_llm",
  "projector_learning_rate",
  "vision_learning_rate",
  "accumulation_steps",
  "feature_cache",
  "feature_cache_budget",
  "compat",
  "allreduce_dtype",
  "local_steps",
  "shard_optimizer",
  "timeout",
  "sample_every",
];

/** Options that only a model with pictures has. */
const NOT_LLM = [
  "images_path",
  "vision_path",
  "freeze_llm",
  "freeze_vision",
  "projector_learning_rate",
  "vision_learning_rate",
  "feature_cache",
  "feature_cache_budget",
];

/** Whether a preset's command has an option. */
export function offers(preset: TrainPreset, name: string): boolean {
  if (name in clipOptions(preset)) return preset.model === "clip";
  const without: Record<TrainPreset["model"], readonly string[]> = {
    vlm: [],
    llm: NOT_LLM,
    clip: NOT_CLIP,
  };
  return !without[preset.model].includes(name);
}
