import { FormatError } from "../kernels/runtime/errors.ts";
import { asObject, numberOf, requireMultiple, requireWhole } from "./config_fields.ts";

/** Shape and constants of the language model; the names are the original's. */
export interface MiniMindConfig {
  /** Width of a token's vector. */
  hidden_size: number;
  /** Width inside the feed-forward network. */
  intermediate_size: number;
  /** Number of blocks. */
  num_hidden_layers: number;
  /** Query heads. */
  num_attention_heads: number;
  /** Key and value heads, each shared by a group of query heads. */
  num_key_value_heads: number;
  /** Number of tokens known. */
  vocab_size: number;
  /** ε of the norms. */
  rms_norm_eps: number;
  /** Base of the rotary frequencies. */
  rope_theta: number;
  /** Longest sequence for which positions are prepared. */
  max_position_embeddings: number;
  /** Whether rotary frequencies are stretched by YaRN for sequences beyond the trained length. */
  inference_rope_scaling: boolean;
  /** Whether the feed-forward networks are mixtures of experts. */
  use_moe: boolean;
  /** Experts that each token chooses. */
  num_experts_per_tok: number;
  /** Experts to choose from. */
  n_routed_experts: number;
  /** Experts that every token passes. */
  n_shared_experts: number;
  /** Factor of the load-balancing loss. */
  aux_loss_alpha: number;
  /** Whether that loss is taken per sequence. */
  seq_aux: boolean;
  /** Whether the chosen experts' weights are scaled to sum to one. */
  norm_topk_prob: boolean;
}

/** Shape and constants of the blocks of one of CLIP's towers; the names are Hugging Face's. */
export interface ClipEncoderConfig {
  /** Width of a patch's or a token's vector. */
  hidden_size: number;
  /** Width inside the MLP. */
  intermediate_size: number;
  /** Number of blocks. */
  num_hidden_layers: number;
  /** Heads. */
  num_attention_heads: number;
  /** Activation of the MLP. */
  hidden_act: "quick_gelu" | "gelu";
  /** ε of the norms. */
  layer_norm_eps: number;
}

/** Shape and constants of a CLIP vision tower; the names are Hugging Face's. */
export interface ClipVisionConfig extends ClipEncoderConfig {
  /** Side of the square picture in pixels. */
  image_size: number;
  /** Side of a patch in pixels. */
  patch_size: number;
  /**
   * Side of the squares of patches that become one token, their features one after the other; 1 unless given. Neither
   * CLIP nor MiniMind-V has it: it makes sequences shorter where patches are small. The name is Qwen2-VL's.
   */
  spatial_merge_size?: number;
}

/** Fields of a configuration that must be given; the rest has defaults. */
export type MiniMindOptions = Partial<MiniMindConfig>;

/**
 * A language model's configuration with the original's defaults (26M: hidden 512, 8 layers; 104M: 768, 16).
 *
 * @throws {FormatError} when the numbers do not fit together.
 */
export function miniMindConfig(options: MiniMindOptions = {}): MiniMindConfig {
  const hidden = options.hidden_size ?? 512;
  const config: MiniMindConfig = {
    hidden_size: hidden,
    intermediate_size: options.intermediate_size ?? feedForwardSize(hidden),
    num_hidden_layers: options.num_hidden_layers ?? 8,
    num_attention_heads: options.num_attention_heads ?? 8,
    num_key_value_heads: options.num_key_value_heads ?? 2,
    vocab_size: options.vocab_size ?? 6400,
    rms_norm_eps: options.rms_norm_eps ?? 1e-5,
    rope_theta: options.rope_theta ?? 1e6,
    max_position_embeddings: options.max_position_embeddings ?? 32768,
    inference_rope_scaling: options.inference_rope_scaling ?? false,
    use_moe: options.use_moe ?? false,
    num_experts_per_tok: options.num_experts_per_tok ?? 2,
    n_routed_experts: options.n_routed_experts ?? 4,
    n_shared_experts: options.n_shared_experts ?? 1,
    aux_loss_alpha: options.aux_loss_alpha ?? 0.1,
    seq_aux: options.seq_aux ?? true,
    norm_topk_prob: options.norm_topk_prob ?? true,
  };
  requireWhole(config, [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
  ]);
  requireMultiple(config, "hidden_size", "num_attention_heads");
  requireMultiple(config, "num_attention_heads", "num_key_value_heads");
  if (config.use_moe) requireExperts(config);
  return config;
}

function requireExperts(config: MiniMindConfig): void {
  const { num_experts_per_tok: choices, n_routed_experts, n_shared_experts, aux_loss_alpha } =
    config;
  requireWhole(config, ["num_experts_per_tok", "n_routed_experts"]);
  if (choices > n_routed_experts) {
    throw new FormatError(
      `num_experts_per_tok: a token cannot choose ${choices} of ${n_routed_experts} experts.`,
    );
  }
  if (!(Number.isSafeInteger(n_shared_experts) && n_shared_experts >= 0)) {
    throw new FormatError(
      `n_shared_experts must be a whole number of at least 0, not ${n_shared_experts}.`,
    );
  }
  if (!(Number.isFinite(aux_loss_alpha) && aux_loss_alpha >= 0)) {
    throw new FormatError(`aux_loss_alpha must be at least 0, not ${aux_loss_alpha}.`);
  }
}

const NUMBERS = [
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "vocab_size",
  "rms_norm_eps",
  "rope_theta",
  "max_position_embeddings",
  "num_experts_per_tok",
  "n_routed_experts",
  "n_shared_experts",
  "aux_loss_alpha",
] as const;

const SWITCHES = ["inference_rope_scaling", "use_moe", "seq_aux", "norm_topk_prob"] as const;

/**
 * What a `config.json` in transformers' format says of a language model.
 *
 * @throws {FormatError} when it is not MiniMind's, or a field has the wrong kind.
 */
export function miniMindOptions(json: unknown, source: string): MiniMindOptions {
  const fields = asObject(json, source);
  const kind = fields.model_type ?? "minimind";
  if (typeof kind !== "string" || !kind.startsWith("minimind")) {
    throw new FormatError(`${source} describes a "${kind}", which is no MiniMind model.`);
  }
  const found: Record<string, number | boolean> = {};
  for (const name of NUMBERS) {
    if (fields[name] !== undefined && fields[name] !== null) {
      found[name] = numberOf(fields, name, 0);
    }
  }
  for (const name of SWITCHES) {
    const value = fields[name] ?? undefined;
    if (value === undefined) continue;
    if (typeof value !== "boolean") {
      throw new FormatError(`${source}: ${name} must be true or false.`);
    }
    found[name] = value;
  }
  return found;
}

/** Width inside the feed-forward network unless told: 8/3 of the hidden size, rounded up to a multiple of 64. */
export function feedForwardSize(hidden: number): number {
  return 64 * Math.ceil(Math.floor(hidden * 8 / 3) / 64);
}

/**
 * Reads a vision tower's configuration from a `config.json` of a CLIP model or of its vision part.
 *
 * @throws {FormatError} when it describes something else, or its numbers do not fit together.
 */
export function clipVisionConfig(json: unknown, source = "config.json"): ClipVisionConfig {
  const whole = asObject(json, source);
  const fields = asObject(whole.vision_config ?? whole, source);
  if (
    fields.model_type !== undefined && !/^clip(_vision_model)?$/.test(String(fields.model_type))
  ) {
    throw new FormatError(`${source} describes a "${fields.model_type}", not a CLIP vision tower.`);
  }
  const config: ClipVisionConfig = {
    ...clipEncoderConfig(fields, source, { width: 768, inner: 3072, layers: 12, heads: 12 }),
    image_size: numberOf(fields, "image_size", 224),
    patch_size: numberOf(fields, "patch_size", 32),
    spatial_merge_size: numberOf(fields, "spatial_merge_size", 1),
  };
  requireWhole(config, ["image_size", "patch_size", "spatial_merge_size"]);
  requireMultiple(config, "image_size", "patch_size");
  if (config.image_size % 2 !== 0) {
    throw new FormatError(`${source}: image_size ${config.image_size} is odd, but must be even.`);
  }
  const across = config.image_size / config.patch_size;
  if (across % config.spatial_merge_size! !== 0) {
    throw new FormatError(
      `spatial_merge_size ${config.spatial_merge_size} does not divide the ${across} patches of a row.`,
    );
  }
  return config;
}

/**
 * Reads what both towers of a CLIP model have.
 *
 * @param otherwise What Hugging Face takes where a field is missing.
 */
export function clipEncoderConfig(
  fields: Readonly<Record<string, unknown>>,
  source: string,
  otherwise: Readonly<Record<"width" | "inner" | "layers" | "heads", number>>,
): ClipEncoderConfig {
  const act = fields.hidden_act ?? "quick_gelu";
  if (act !== "quick_gelu" && act !== "gelu") {
    throw new FormatError(
      `${source}: the activation "${act}" is not known; CLIP has quick_gelu or gelu.`,
    );
  }
  const config: ClipEncoderConfig = {
    hidden_size: numberOf(fields, "hidden_size", otherwise.width),
    intermediate_size: numberOf(fields, "intermediate_size", otherwise.inner),
    num_hidden_layers: numberOf(fields, "num_hidden_layers", otherwise.layers),
    num_attention_heads: numberOf(fields, "num_attention_heads", otherwise.heads),
    hidden_act: act,
    layer_norm_eps: numberOf(fields, "layer_norm_eps", 1e-5),
  };
  requireWhole(config, [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
  ]);
  requireMultiple(config, "hidden_size", "num_attention_heads");
  return config;
}

/** Patches of a picture. */
export function patchCount({ image_size, patch_size }: ClipVisionConfig): number {
  return (image_size / patch_size) ** 2;
}

/** Tokens that a picture takes in a sequence: one a patch, or one for each square of patches. */
export function pictureTokens(config: ClipVisionConfig): number {
  return patchCount(config) / (config.spatial_merge_size ?? 1) ** 2;
}
