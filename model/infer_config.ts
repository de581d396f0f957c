import { FormatError, UsageError } from "../kernels/runtime/errors.ts";
import { type MiniMindConfig, miniMindConfig, type MiniMindOptions } from "./config.ts";
import type { WeightFile } from "./weight_file.ts";

/**
 * A language model's configuration as its weights show it. Weights do not show the number of heads; it stays the
 * original's 8 unless given.
 *
 * @param file The weights.
 * @param given What the user asked for; must not contradict the weights.
 * @param source What the file is called in errors.
 * @throws {UsageError} when `given` contradicts the weights; both are named.
 * @throws {FormatError} when this is no MiniMind model.
 */
export function inferMiniMindConfig(
  file: WeightFile,
  given: MiniMindOptions,
  source: string,
): MiniMindConfig {
  const shapeOf = (name: string) => file.tensors.get(name)?.shape;
  const embedding = shapeOf("model.embed_tokens.weight") ?? shapeOf("lm_head.weight");
  if (embedding?.length !== 2) {
    throw new FormatError(
      `${source} holds no MiniMind model: model.embed_tokens.weight is missing.`,
    );
  }
  const names = [...file.tensors.keys()];
  const count = (pattern: RegExp) =>
    1 + Math.max(-1, ...names.map((name) => Number(pattern.exec(name)?.[1] ?? -1)));
  const [vocab_size, hidden_size] = embedding as [number, number];
  const heads = given.num_attention_heads ?? 8;
  const use_moe = names.some((name) => name.includes(".mlp.gate.weight"));
  const found: MiniMindOptions = {
    vocab_size,
    hidden_size,
    num_hidden_layers: count(/^model\.layers\.(\d+)\./),
    num_attention_heads: heads,
    use_moe,
    ...use_moe && {
      n_routed_experts: count(/\.mlp\.experts\.(\d+)\./),
      n_shared_experts: count(/\.mlp\.shared_experts\.(\d+)\./),
    },
  };
  const inner = use_moe ? "mlp.experts.0.gate_proj" : "mlp.gate_proj";
  const gate = shapeOf(`model.layers.0.${inner}.weight`);
  if (gate?.length === 2) found.intermediate_size = gate[0]!;
  const keys = shapeOf("model.layers.0.self_attn.k_proj.weight");
  if (keys?.length === 2) found.num_key_value_heads = keys[0]! * heads / hidden_size;
  for (const key of Object.keys(found) as (keyof MiniMindConfig)[]) {
    if (given[key] !== undefined && given[key] !== found[key]) {
      throw new UsageError(
        `${key} was given as ${Number(given[key])}, but the weights in ${source} have ${
          Number(found[key])
        }.`,
      );
    }
  }
  return miniMindConfig({ ...given, ...found });
}
