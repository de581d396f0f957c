/**
 * Weights that are a function of their names: the same bits as
 * `tests/fixtures/original/deterministic_weights.py`, so that no file has to hold them.
 */
import { float32ToFloat16 } from "../../model/half.ts";
import { elementCount, type HostTensor } from "../../model/host_tensor.ts";

const EMBEDDING = "model.embed_tokens.weight";
const BYTE_TOKENS = 259;

/** The 32-bit Fowler–Noll–Vo hash 1a of an ASCII name. */
function fnv1a(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}

/** The `i`-th of a stream of numbers in [-1, 1): MurmurHash3's finalizer over a counter. */
function uniform(seed: number, i: number): number {
  let h = (seed + Math.imul(i, 0x9e3779b9)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) * 2 ** -31 - 1;
}

/** The values of the tensor `name`: norms about 1, vectors small, matrices 1/sqrt(fan_in). */
export function deterministicWeight(
  name: string,
  shape: readonly number[],
): Float32Array<ArrayBuffer> {
  const source = name === "lm_head.weight" ? EMBEDDING : name;
  const seed = fnv1a(source);
  const values = new Float32Array(elementCount(shape));
  if (shape.length < 2) {
    const center = source.endsWith(".weight") ? 1 : 0;
    return values.map((_, i) => center + 0.1 * uniform(seed, i));
  }
  const fanIn = elementCount(shape.slice(1));
  const bound = Math.sqrt(3 / fanIn);
  const gain = source.startsWith("model.layers.") ? 2 : 1;
  const rare = source === EMBEDDING ? BYTE_TOKENS * fanIn : values.length;
  return values.map((_, i) => uniform(seed, i) * bound * gain * (i < rare ? 1 : 0.0625));
}

/** Tensors of these names and shapes, filled by {@linkcode deterministicWeight}. */
export function deterministicTensors(
  shapes: Readonly<Record<string, readonly number[]>>,
  dtype: "float32" | "float16",
): HostTensor[] {
  return Object.entries(shapes).map(([name, shape]) => ({
    name,
    dtype,
    shape,
    read: () => {
      const values = deterministicWeight(name, shape);
      const stored = dtype === "float16" ? float32ToFloat16(values) : values;
      return Promise.resolve(new Uint8Array(stored.buffer));
    },
  }));
}

/** The parameters of a MiniMind-V (64 wide, 2 layers, 8 heads, 2 of them for keys and values). */
export function languageModelShapes(useMoe: boolean): Record<string, number[]> {
  const [hidden, keyValue, intermediate, vocabulary, vision] = [64, 16, 192, 6400, 768];
  const feedForward = (prefix: string): Record<string, number[]> => ({
    [`${prefix}.gate_proj.weight`]: [intermediate, hidden],
    [`${prefix}.down_proj.weight`]: [hidden, intermediate],
    [`${prefix}.up_proj.weight`]: [intermediate, hidden],
  });
  const layer = (prefix: string): Record<string, number[]> => ({
    [`${prefix}.self_attn.q_proj.weight`]: [hidden, hidden],
    [`${prefix}.self_attn.k_proj.weight`]: [keyValue, hidden],
    [`${prefix}.self_attn.v_proj.weight`]: [keyValue, hidden],
    [`${prefix}.self_attn.o_proj.weight`]: [hidden, hidden],
    [`${prefix}.input_layernorm.weight`]: [hidden],
    [`${prefix}.post_attention_layernorm.weight`]: [hidden],
    ...(useMoe
      ? {
        ...feedForward(`${prefix}.mlp.experts.0`),
        ...feedForward(`${prefix}.mlp.experts.1`),
        ...feedForward(`${prefix}.mlp.experts.2`),
        ...feedForward(`${prefix}.mlp.experts.3`),
        [`${prefix}.mlp.gate.weight`]: [4, hidden],
        ...feedForward(`${prefix}.mlp.shared_experts.0`),
      }
      : feedForward(`${prefix}.mlp`)),
  });
  return {
    [EMBEDDING]: [vocabulary, hidden],
    ...layer("model.layers.0"),
    ...layer("model.layers.1"),
    "model.norm.weight": [hidden],
    "lm_head.weight": [vocabulary, hidden],
    "vision_proj.vision_proj.0.weight": [hidden, vision],
    "vision_proj.vision_proj.0.bias": [hidden],
  };
}

/** The parameters of the fixture's CLIP: its text tower is 16 wide, its vision tower 768. */
export function clipShapes(): Record<string, number[]> {
  const affine = (prefix: string, ...shape: number[]): Record<string, number[]> => ({
    [`${prefix}.weight`]: shape,
    [`${prefix}.bias`]: shape.slice(0, 1),
  });
  const layer = (prefix: string, width: number, inner: number): Record<string, number[]> => ({
    ...affine(`${prefix}.self_attn.k_proj`, width, width),
    ...affine(`${prefix}.self_attn.v_proj`, width, width),
    ...affine(`${prefix}.self_attn.q_proj`, width, width),
    ...affine(`${prefix}.self_attn.out_proj`, width, width),
    ...affine(`${prefix}.layer_norm1`, width),
    ...affine(`${prefix}.mlp.fc1`, inner, width),
    ...affine(`${prefix}.mlp.fc2`, width, inner),
    ...affine(`${prefix}.layer_norm2`, width),
  });
  return {
    "logit_scale": [],
    "text_model.embeddings.token_embedding.weight": [2, 16],
    "text_model.embeddings.position_embedding.weight": [4, 16],
    ...layer("text_model.encoder.layers.0", 16, 16),
    ...affine("text_model.final_layer_norm", 16),
    "vision_model.embeddings.class_embedding": [768],
    "vision_model.embeddings.patch_embedding.weight": [768, 3, 16, 16],
    "vision_model.embeddings.position_embedding.weight": [197, 768],
    ...affine("vision_model.pre_layrnorm", 768),
    ...layer("vision_model.encoder.layers.0", 768, 128),
    ...layer("vision_model.encoder.layers.1", 768, 128),
    ...affine("vision_model.post_layernorm", 768),
    "visual_projection.weight": [16, 768],
    "text_projection.weight": [16, 16],
  };
}
