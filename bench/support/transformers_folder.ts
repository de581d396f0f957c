/** A folder that transformers and Glimpse load the same random model from. */
import { join } from "node:path";
import { clipVisionSpecs } from "../../model/clip_vision.ts";
import type { ClipVisionConfig, MiniMindConfig } from "../../model/config.ts";
import { elementCount } from "../../model/host_tensor.ts";
import { miniMindSpecs } from "../../model/minimind.ts";
import { drawInitial, type ParameterSpec } from "../../model/parameter_spec.ts";
import { Random } from "../../model/random.ts";
import { safetensorsChunks } from "../../model/safetensors.ts";
import { projectionSpecs } from "../../model/vlm.ts";

/** Writes random weights as transformers' folder of a model. */
async function writeFolder(
  folder: string,
  specs: readonly ParameterSpec[],
  config: Record<string, unknown>,
): Promise<void> {
  const random = new Random(0);
  const tensors = specs.flatMap(({ parts }) =>
    parts.map(({ name, shape, initial }) => {
      const values = drawInitial(initial, elementCount(shape), random);
      const read = () => Promise.resolve(new Uint8Array(values.buffer));
      return { name, shape, dtype: "float32" as const, read };
    })
  );
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(config));
  const file = join(folder, "model.safetensors");
  await Deno.writeFile(file, ReadableStream.from(safetensorsChunks(tensors, { format: "pt" })));
}

/** What transformers calls a model that computes what MiniMind does. */
function architecture(config: MiniMindConfig): Record<string, unknown> {
  const llama = { architectures: ["LlamaForCausalLM"], model_type: "llama" };
  if (!config.use_moe) return llama;
  return {
    architectures: ["Qwen2MoeForCausalLM"],
    model_type: "qwen2_moe",
    num_experts: config.n_routed_experts,
    moe_intermediate_size: config.intermediate_size,
    shared_expert_intermediate_size: config.n_shared_experts * config.intermediate_size,
    qkv_bias: false,
  };
}

/**
 * Writes a Llama model, which has the names of MiniMind's tensors, or a Qwen2-MoE model, whose shared expert they call
 * otherwise, and what sees pictures, if any are shown.
 */
export async function writeModel(
  folder: string,
  config: MiniMindConfig,
  vision?: ClipVisionConfig,
): Promise<void> {
  const language = {
    ...architecture(config),
    ...config,
    tie_word_embeddings: true,
    hidden_act: "silu",
    rope_parameters: { rope_type: "default", rope_theta: config.rope_theta },
    dtype: "float32",
    ...{ bos_token_id: null, eos_token_id: null, pad_token_id: 0 },
  };
  const specs = [...miniMindSpecs(config), ...projectionSpecs({ language: config, vision })];
  await writeFolder(folder, specs, language);
  if (!vision) return;
  const clip = { model_type: "clip_vision_model", num_channels: 3, ...vision };
  await writeFolder(join(folder, "vision"), clipVisionSpecs(vision), clip);
}
