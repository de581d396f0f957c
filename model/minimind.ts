import { attention } from "../kernels/attention.ts";
import { checkpoint } from "../kernels/checkpoint.ts";
import {
  appendToCache,
  attentionDecode,
  attentionPrompts,
  type CacheRows,
  type KvCache,
  type PackedPrompts,
} from "../kernels/kv_cache.ts";
import { linear, type NormOf } from "../kernels/matmul.ts";
import { rmsNorm } from "../kernels/rms_norm.ts";
import { rope, ropeTable } from "../kernels/rope.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Sequences } from "../kernels/sequences.ts";
import type { MiniMindConfig } from "./config.ts";
import { type Balance, feedForward, feedForwardSpecs } from "./feed_forward.ts";
import {
  type Initial,
  linearWeight,
  parameter,
  type Parameters,
  type ParameterSpec,
  stacked,
} from "./parameters.ts";

/** YaRN's settings when `inference_rope_scaling` is on, as the original fixes them. */
const YARN = { factor: 4, betaFast: 4, betaSlow: 1, originalMaxPositions: 2048 };

const ONE: Initial = { constant: 1 };

/** Rows that continue sequences whose keys and values are kept. */
export interface CachedRows {
  /** What the sequences have seen; the rows' own keys and values are added. */
  readonly cache: KvCache;
  /** Where the rows stand in it. */
  readonly rows: CacheRows;
  /** How the rows form prompts, if they do. */
  readonly prompts?: PackedPrompts | undefined;
  /** The longest that any of the sequences is by then; as long as they may be unless given. */
  readonly longest?: number;
}

/** The parameters of a MiniMind language model. The head is the embedding. */
export function miniMindSpecs(config: MiniMindConfig): ParameterSpec[] {
  const { hidden_size: width, num_key_value_heads: kvHeads } = config;
  const headDim = width / config.num_attention_heads;
  const specs = [linearWeight("model.embed_tokens.weight", config.vocab_size, width)];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    specs.push(
      parameter(`${at}.input_layernorm.weight`, [width], ONE),
      stacked(`${at}.self_attn.qkv_proj.weight`, width, [
        [`${at}.self_attn.q_proj.weight`, width],
        [`${at}.self_attn.k_proj.weight`, kvHeads * headDim],
        [`${at}.self_attn.v_proj.weight`, kvHeads * headDim],
      ]),
      linearWeight(`${at}.self_attn.o_proj.weight`, width, width),
      parameter(`${at}.post_attention_layernorm.weight`, [width], ONE),
      ...feedForwardSpecs(`${at}.mlp`, config),
    );
  }
  specs.push(parameter("model.norm.weight", [width], ONE));
  return specs;
}

/**
 * The MiniMind language model: blocks of grouped-query attention with rotary positions and a SwiGLU network, or a
 * mixture of them, each behind an RMSNorm and around a residual.
 */
export class MiniMind implements Disposable {
  /** Shape and constants. */
  readonly config: MiniMindConfig;
  readonly #parameters: Parameters;
  readonly #positions: Tensor;

  /** The model over parameters that hold `miniMindSpecs(config)`. */
  constructor(gpu: Gpu, config: MiniMindConfig, parameters: Parameters) {
    this.config = config;
    this.#parameters = parameters;
    const { hidden_size, num_attention_heads, max_position_embeddings, rope_theta } = config;
    const scaling = config.inference_rope_scaling ? YARN : undefined;
    this.#positions = gpu.detached(() =>
      ropeTable(
        gpu,
        hidden_size / num_attention_heads,
        max_position_embeddings,
        rope_theta,
        scaling,
      )
    );
  }

  /** The embedding, which is also the head [vocabulary, width]. */
  get embedding(): Tensor {
    return this.#parameters.get("model.embed_tokens.weight");
  }

  /**
   * Runs the blocks and the final norm.
   *
   * @param x Embedded rows [T, width].
   * @param context Which rows form which sequence, or which sequences they continue.
   * @param rows The rows whose output is wanted, uint32 [R]; all unless given. What only the others need is not computed.
   * @param balance Asks for the losses that keep experts evenly used, one a layer.
   * @returns Rows [R, width], ready for the head.
   */
  forward(
    x: Tensor,
    context: Sequences | CachedRows,
    rows?: Tensor,
    balance?: Balance,
  ): Tensor {
    const { num_hidden_layers, rms_norm_eps } = this.config;
    using scope = x.gpu.scope();
    let h = x;
    for (let layer = 0; layer < num_hidden_layers; layer++) {
      const last = layer === num_hidden_layers - 1;
      const output = this.#checkpointed(h, layer, context, last ? rows : undefined, balance);
      if (h !== x) scope.release(h).dispose();
      h = output;
    }
    return scope.keep(rmsNorm(h, this.#parameters.get("model.norm.weight"), rms_norm_eps));
  }

  /** Frees what it made itself; the parameters are their owner's. */
  [Symbol.dispose](): void {
    this.#positions.dispose();
  }

  /** A block of which a tape may keep the input alone. */
  #checkpointed(
    x: Tensor,
    layer: number,
    context: Sequences | CachedRows,
    rows?: Tensor,
    balance?: Balance,
  ): Tensor {
    const described = "cache" in context ? [context.rows.positions] : context.tensors;
    const reads = [x, ...rows ? [rows] : [], ...described];
    const [h, ...losses] = checkpoint(x.gpu, reads, (): [Tensor, ...Tensor[]] => {
      const losses: Tensor[] = [];
      return [this.#block(x, layer, context, rows, balance && { ...balance, losses }), ...losses];
    });
    balance?.losses.push(...losses);
    return h;
  }

  #block(
    x: Tensor,
    layer: number,
    context: Sequences | CachedRows,
    rows?: Tensor,
    balance?: Balance,
  ): Tensor {
    const { config } = this;
    const heads = {
      heads: config.num_attention_heads,
      kvHeads: config.num_key_value_heads,
      headDim: config.hidden_size / config.num_attention_heads,
    };
    using scope = x.gpu.scope();
    const qkv = linear(x, this.#weight(layer, "self_attn.qkv_proj"), {
      from: this.#norm(layer, "input_layernorm"),
    });
    let attended: Tensor;
    if ("cache" in context) {
      const cached = context.cache.layers[layer]!;
      const { prompts, longest } = context;
      const options = { ...heads, longest };
      appendToCache(cached, qkv, this.#positions, context.rows, heads);
      if (rows && rows === prompts?.last.rows) {
        const asked = attentionDecode(gatherRows(qkv, rows), cached, prompts.last, options);
        return scope.keep(this.#afterAttention(asked, gatherRows(x, rows), layer));
      }
      attended = prompts
        ? attentionPrompts(qkv, cached, prompts, options)
        : attentionDecode(qkv, cached, context.rows, options);
    } else {
      const turned = rope(qkv, this.#positions, context.positions, heads);
      attended = attention(turned, context, { ...heads, causal: true });
    }
    // a gate whose balance is wanted sees all rows
    const early = balance ? undefined : rows;
    if (early) [attended, x] = [gatherRows(attended, early), gatherRows(x, early)];
    return scope.keep(this.#afterAttention(attended, x, layer, balance && { ...balance, rows }));
  }

  /** A block's rows from what they attended to and what they were. */
  #afterAttention(
    attended: Tensor,
    x: Tensor,
    layer: number,
    balance?: Balance & { readonly rows?: Tensor | undefined },
  ): Tensor {
    using scope = x.gpu.scope();
    const h = linear(attended, this.#weight(layer, "self_attn.o_proj"), { residual: x });
    const norm = this.#norm(layer, "post_attention_layernorm");
    const weights = (name: string) => this.#parameters.get(`model.layers.${layer}.mlp.${name}`);
    return scope.keep(feedForward(h, norm, weights, this.config, balance));
  }

  #weight(layer: number, name: string): Tensor {
    return this.#parameters.get(`model.layers.${layer}.${name}.weight`);
  }

  #norm(layer: number, name: string): NormOf {
    return { gain: this.#weight(layer, name), eps: this.config.rms_norm_eps };
  }
}
