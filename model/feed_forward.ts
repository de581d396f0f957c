import { balanceLoss, expertFeedForward, routeTokens } from "../kernels/experts.ts";
import { linear, type NormOf } from "../kernels/matmul.ts";
import { rmsNorm } from "../kernels/rms_norm.ts";
import { gatherRows } from "../kernels/rows.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Sequences } from "../kernels/sequences.ts";
import { softmax } from "../kernels/softmax.ts";
import type { MiniMindConfig } from "./config.ts";
import {
  linearInitial,
  linearWeight,
  parameter,
  type ParameterSpec,
  stacked,
} from "./parameters.ts";

/** A parameter of the network by the rest of its name. */
export type Weights = (name: string) => Tensor;

/** Asks for the losses that keep experts evenly used. */
export interface Balance {
  /** Which rows form which sequence. */
  readonly sequences: Sequences;
  /** Factor on each loss beside the configuration's α. */
  readonly weight: number;
  /** Where the loss [1] of each mixture that is passed is put, to be disposed of by whoever asks. */
  readonly losses: Tensor[];
}

/** The parameters of a block's feed-forward network, `at` being its name: a SwiGLU network, or a mixture of them. */
export function feedForwardSpecs(at: string, config: MiniMindConfig): ParameterSpec[] {
  const { hidden_size: width, intermediate_size: inner } = config;
  if (!config.use_moe) return swigluSpecs(at, width, inner);
  const experts = numbers(config.n_routed_experts).map((n) => `${at}.experts.${n}`);
  return [
    parameter(`${at}.gate.weight`, [config.n_routed_experts, width], linearInitial(width)),
    stacked(
      `${at}.experts.gate_up_proj.weight`,
      width,
      experts.flatMap((expert): [string, number][] => [
        [`${expert}.gate_proj.weight`, inner],
        [`${expert}.up_proj.weight`, inner],
      ]),
    ),
    stacked(
      `${at}.experts.down_proj.weight`,
      inner,
      experts.map((expert) => [`${expert}.down_proj.weight`, width]),
    ),
    ...numbers(config.n_shared_experts).flatMap((n) =>
      swigluSpecs(`${at}.shared_experts.${n}`, width, inner)
    ),
  ];
}

/**
 * A block's feed-forward network behind its norm and around its residual.
 *
 * @param h Rows [T, width].
 * @param norm The norm of what it reads.
 * @param weights Its parameters by their names without `at`, for example `down_proj.weight`.
 * @param balance Asks for a mixture's balance loss, for which `h` has all rows of the sequences, of which `rows` pass
 *   the experts; all unless given.
 * @returns [T, width], or [R, width] where R rows were asked for.
 */
export function feedForward(
  h: Tensor,
  norm: NormOf,
  weights: Weights,
  config: MiniMindConfig,
  balance?: Balance & { readonly rows?: Tensor },
): Tensor {
  if (!config.use_moe) return swigluNetwork(h, weights, "", h, norm);
  const gateUp = weights("experts.gate_up_proj.weight");
  const down = weights("experts.down_proj.weight");
  const options = {
    choices: config.num_experts_per_tok,
    normalize: config.norm_topk_prob,
    matrices: [gateUp, down],
  };
  using scope = h.gpu.scope();
  let x = rmsNorm(h, norm.gain, norm.eps);
  let residual = h;
  let scores = softmax(linear(x, weights("gate.weight")));
  let routing = routeTokens(scores, options);
  if (balance) {
    const { sequences, weight, losses, rows } = balance;
    const alpha = config.aux_loss_alpha * weight;
    losses.push(
      x.gpu.detached(() => balanceLoss(scores, routing, sequences, alpha, config.seq_aux)),
    );
    if (rows) {
      [x, residual, scores] = [
        gatherRows(x, rows),
        gatherRows(residual, rows),
        gatherRows(scores, rows),
      ];
      routing = routeTokens(scores, options);
    }
  }
  let y = residual;
  for (const n of numbers(config.n_shared_experts)) {
    y = swigluNetwork(x, weights, `shared_experts.${n}.`, y);
  }
  return scope.keep(expertFeedForward(x, routing, gateUp, down, y));
}

function swigluSpecs(at: string, width: number, inner: number): ParameterSpec[] {
  return [
    stacked(`${at}.gate_up_proj.weight`, width, [
      [`${at}.gate_proj.weight`, inner],
      [`${at}.up_proj.weight`, inner],
    ]),
    linearWeight(`${at}.down_proj.weight`, width, inner),
  ];
}

/** residual + down(silu(gate(x)) · up(x)) */
function swigluNetwork(
  x: Tensor,
  weights: Weights,
  at: string,
  residual: Tensor,
  norm?: NormOf,
): Tensor {
  using scope = x.gpu.scope();
  const gateUp = linear(x, weights(`${at}gate_up_proj.weight`), { from: norm });
  return scope.keep(linear(gateUp, weights(`${at}down_proj.weight`), { residual, from: "swiglu" }));
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}
