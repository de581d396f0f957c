import { attention } from "../kernels/attention.ts";
import { linear } from "../kernels/matmul.ts";
import { rmsNorm } from "../kernels/rms_norm.ts";
import { rope, ropeTable } from "../kernels/rope.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Sequences } from "../kernels/sequences.ts";
import { swiglu } from "../kernels/swiglu.ts";
import type { MiniMindConfig } from "./config.ts";
import {
  type Initial,
  linearInitial,
  parameter,
  type Parameters,
  type ParameterSpec,
} from "./parameters.ts";

/** YaRN's settings when `inference_rope_scaling` is on, as the original fixes them. */
const YARN = { factor: 4, betaFast: 4, betaSlow: 1, originalMaxPositions: 2048 };

const ONE: Initial = { constant: 1 };

/** Several linear layers of one input as one parameter, their weights below each other. */
function stacked(name: string, inputs: number, parts: readonly [string, number][]): ParameterSpec {
  const initial = linearInitial(inputs);
  const rows = parts.reduce((sum, [, n]) => sum + n, 0);
  return {
    name,
    shape: [rows, inputs],
    parts: parts.map(([part, n]) => ({ name: part, shape: [n, inputs], initial })),
  };
}

/** The parameters of a MiniMind language model. The head is the embedding. */
export function miniMindSpecs(config: MiniMindConfig): ParameterSpec[] {
  const { hidden_size: width, intermediate_size: inner, num_key_value_heads: kvHeads } = config;
  const headDim = width / config.num_attention_heads;
  const specs = [
    parameter("model.embed_tokens.weight", [config.vocab_size, width], linearInitial(width)),
  ];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    specs.push(
      parameter(`${at}.input_layernorm.weight`, [width], ONE),
      stacked(`${at}.self_attn.qkv_proj.weight`, width, [
        [`${at}.self_attn.q_proj.weight`, width],
        [`${at}.self_attn.k_proj.weight`, kvHeads * headDim],
        [`${at}.self_attn.v_proj.weight`, kvHeads * headDim],
      ]),
      parameter(`${at}.self_attn.o_proj.weight`, [width, width], linearInitial(width)),
      parameter(`${at}.post_attention_layernorm.weight`, [width], ONE),
      stacked(`${at}.mlp.gate_up_proj.weight`, width, [
        [`${at}.mlp.gate_proj.weight`, inner],
        [`${at}.mlp.up_proj.weight`, inner],
      ]),
      parameter(`${at}.mlp.down_proj.weight`, [width, inner], linearInitial(inner)),
    );
  }
  specs.push(parameter("model.norm.weight", [width], ONE));
  return specs;
}

/**
 * The MiniMind language model: blocks of grouped-query attention with rotary positions and a SwiGLU network, each
 * behind an RMSNorm and around a residual.
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
   * @param sequences Which rows form which sequence.
   * @param rows The rows whose output is wanted, uint32 [R]; all unless given. What only the others need is not computed.
   * @returns Rows [R, width], ready for the head.
   */
  forward(x: Tensor, sequences: Sequences, rows?: Tensor): Tensor {
    const { num_hidden_layers, rms_norm_eps } = this.config;
    using scope = x.gpu.scope();
    let h = x;
    for (let layer = 0; layer < num_hidden_layers; layer++) {
      h = this.#block(h, layer, sequences, layer === num_hidden_layers - 1 ? rows : undefined);
    }
    return scope.keep(rmsNorm(h, this.#parameters.get("model.norm.weight"), rms_norm_eps));
  }

  /** Frees what it made itself; the parameters are their owner's. */
  [Symbol.dispose](): void {
    this.#positions.dispose();
  }

  #block(x: Tensor, layer: number, sequences: Sequences, rows?: Tensor): Tensor {
    const { config } = this;
    const weight = (name: string) => this.#parameters.get(`model.layers.${layer}.${name}.weight`);
    const heads = {
      heads: config.num_attention_heads,
      kvHeads: config.num_key_value_heads,
      headDim: config.hidden_size / config.num_attention_heads,
    };
    using scope = x.gpu.scope();
    const normed = rmsNorm(x, weight("input_layernorm"), config.rms_norm_eps);
    const qkv = rope(
      linear(normed, weight("self_attn.qkv_proj")),
      this.#positions,
      sequences.positions,
      heads,
    );
    let attended = attention(qkv, sequences, { ...heads, causal: true });
    if (rows) [attended, x] = [gatherRows(attended, rows), gatherRows(x, rows)];
    const h = linear(attended, weight("self_attn.o_proj"), { residual: x });
    const gated = swiglu(
      linear(
        rmsNorm(h, weight("post_attention_layernorm"), config.rms_norm_eps),
        weight("mlp.gate_up_proj"),
      ),
    );
    return scope.keep(linear(gated, weight("mlp.down_proj"), { residual: h }));
  }
}
