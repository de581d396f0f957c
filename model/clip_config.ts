import { FormatError } from "../kernels/runtime/errors.ts";
import {
  type ClipEncoderConfig,
  clipEncoderConfig,
  type ClipVisionConfig,
  clipVisionConfig,
} from "./config.ts";
import { asObject, numberOf, requireWhole } from "./config_fields.ts";

/** Shape and constants of a CLIP text tower; the names are Hugging Face's. */
export interface ClipTextConfig extends ClipEncoderConfig {
  /** Number of tokens known. */
  vocab_size: number;
  /** Longest text in tokens, with those that begin and end it. */
  max_position_embeddings: number;
}

/** Shapes of a whole CLIP model. */
export interface ClipConfig {
  /** The vision tower. */
  vision: ClipVisionConfig;
  /** The text tower. */
  text: ClipTextConfig;
  /** Width of the space in which pictures and texts meet. */
  projection_dim: number;
}

/** The logarithm of the inverse temperature at first: 1 / 0.07, as OpenAI began. */
export const INITIAL_LOGIT_SCALE: number = Math.log(1 / 0.07);

/**
 * Reads a text tower's configuration from the `text_config` of a CLIP model's `config.json`; what is missing is that of
 * ViT-B's.
 *
 * @throws {FormatError} when its numbers do not fit together.
 */
export function clipTextConfig(json: unknown, source = "config.json"): ClipTextConfig {
  const fields = asObject(json, source);
  const config: ClipTextConfig = {
    ...clipEncoderConfig(fields, source, { width: 512, inner: 2048, layers: 12, heads: 8 }),
    vocab_size: numberOf(fields, "vocab_size", 49408),
    max_position_embeddings: numberOf(fields, "max_position_embeddings", 77),
  };
  requireWhole(config, ["vocab_size", "max_position_embeddings"]);
  return config;
}

/** Reads the configuration of a whole CLIP model; see `clipVisionConfig` and `clipTextConfig`. */
export function clipConfig(json: unknown, source = "config.json"): ClipConfig {
  const fields = asObject(json, source);
  const config = {
    vision: clipVisionConfig(fields, source),
    text: clipTextConfig(fields.text_config ?? {}, source),
    projection_dim: numberOf(fields, "projection_dim", 512),
  };
  requireWhole(config, ["projection_dim"]);
  return config;
}

/** Special tokens of a text tower. */
export interface ClipTokens {
  /** What every text begins with, if anything. */
  readonly bosId: number | undefined;
  /** What every text ends with. */
  readonly endId: number;
}

/**
 * The tokens between which a tokenizer's texts stand for CLIP: the one that opens a turn, and at the end the padding, as
 * OpenAI's CLIP has it. To transformers' CLIP an end of id 2 means an old kind of model.
 *
 * @throws {FormatError} where the padding has that id.
 */
export function clipTokens(
  { bosId, padId }: { readonly bosId: number | undefined; readonly padId: number },
): ClipTokens {
  if (padId !== 2) return { bosId, endId: padId };
  throw new FormatError(
    "The tokenizer's padding token, which ends the texts for CLIP, has the id 2, by which transformers' CLIP " +
      "knows old models; name another pad_token in tokenizer_config.json.",
  );
}

/** The `config.json` of a CLIP model as transformers reads it. */
export function clipConfigJson(
  { vision, text, projection_dim }: ClipConfig,
  { bosId, endId }: ClipTokens,
): Record<string, unknown> {
  return {
    architectures: ["CLIPModel"],
    model_type: "clip",
    projection_dim,
    logit_scale_init_value: INITIAL_LOGIT_SCALE,
    text_config: {
      model_type: "clip_text_model",
      ...text,
      projection_dim,
      bos_token_id: bosId ?? null,
      eos_token_id: endId,
      pad_token_id: endId,
    },
    vision_config: { model_type: "clip_vision_model", num_channels: 3, ...vision, projection_dim },
  };
}
