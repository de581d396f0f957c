import { sumOf } from "./reduce.ts";
import { ShapeError } from "./runtime/errors.ts";
import type { Gpu } from "./runtime/gpu.ts";
import { f32 } from "./runtime/kernel.ts";
import type { Tensor } from "./runtime/tensor.ts";
import { vectors } from "./runtime/vectors.ts";
import { entry } from "./runtime/wgsl.ts";

const SIZE = 64;
/** Updates with a finite gradient after which the loss scale is doubled. */
const SCALE_INTERVAL = 2000;

/** Places in an update's state, a float32 tensor of 8. */
export const STATE = {
  /** Updates made. */
  updates: 0,
  /** Updates left out because the gradient was not finite. */
  skipped: 1,
  /** Norm of the last gradient. */
  norm: 2,
  /** What the last gradient was multiplied by; 0 when the update was left out. */
  factor: 3,
  /** 1 / (1 − β₁ᵗ). */
  correction1: 4,
  /** 1 / √(1 − β₂ᵗ). */
  correction2: 5,
  /** By what the loss is multiplied, lest small gradients vanish in float16; 0 for a loss as it is. */
  lossScale: 6,
  /** Updates since the loss scale was changed. */
  sinceScaled: 7,
} as const;

/** A state before the first update, or after some of them. */
export function updateState(gpu: Gpu, updates = 0, lossScale = 0): Tensor {
  const state = new Float32Array(8);
  state[STATE.updates] = updates;
  state[STATE.lossScale] = lossScale;
  return gpu.tensor(state, [8], "optimizer state");
}

/** The sum of the squares of all elements of flat gradients [1], the square of their common norm. */
export function squaredNorm(gradients: readonly Tensor[]): Tensor {
  return sumOf(gradients, "v * v");
}

/** Constants of AdamW. */
export interface AdamWConstants {
  /** β₁, how much of the first moment is kept. */
  readonly beta1: number;
  /** β₂, how much of the second moment is kept. */
  readonly beta2: number;
  /** ε, added to the denominator. */
  readonly eps: number;
  /** λ, the decay of the weights. */
  readonly weightDecay: number;
}

/**
 * Decides on the device what becomes of a gradient: how much it is scaled down, as `clip_grad_norm_` of PyTorch does,
 * and whether it is used at all. Only an update with a finite gradient counts.
 *
 * A loss scale is divided out of the gradient, halved when that is not finite and doubled after 2000 updates in which it
 * was, as `torch.amp.GradScaler` does (Micikevicius et al., "Mixed Precision Training", 2018).
 *
 * @param state See `updateState`.
 * @param squared The squared norm [1].
 * @param constants Of AdamW, for the corrections of its bias.
 * @param clip The longest gradient allowed; Infinity for any.
 * @param gradientScale What every gradient is to be multiplied by before that, such as 1 / (number of processes).
 */
export function decideUpdate(
  state: Tensor,
  squared: Tensor,
  { beta1, beta2 }: AdamWConstants,
  clip: number,
  gradientScale = 1,
): void {
  const { gpu } = state;
  const kernel = gpu.kernel("decide_update", () => `
struct Params { clip: f32, scale: f32, log1: f32, log2: f32 }
@group(0) @binding(0) var<storage, read> squared: array<f32>;
@group(0) @binding(1) var<storage, read_write> state: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;
// 1 − exp(x) for x < 0, also where exp(x) is close to 1
fn rest(x: f32) -> f32 {
  let series = -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0)))));
  return select(1.0 - exp(x), series, x > -0.25);
}
${
    entry(
      gpu,
      1,
      `if (group + lane == 0u) {
    let lossScale = state[${STATE.lossScale}];
    let isScaled = lossScale > 0.0;
    var scale = p.scale;
    if (isScaled) { scale /= lossScale; }
    let norm = sqrt(squared[0]) * scale;
    state[${STATE.norm}] = norm;
    if ((bitcast<u32>(norm) & 0x7f800000u) != 0x7f800000u) {
      let t = state[${STATE.updates}] + 1.0;
      state[${STATE.updates}] = t;
      state[${STATE.factor}] = scale * min(1.0, p.clip / (norm + 1e-6));
      state[${STATE.correction1}] = 1.0 / rest(t * p.log1);
      state[${STATE.correction2}] = inverseSqrt(rest(t * p.log2));
      if (isScaled) {
        let since = state[${STATE.sinceScaled}] + 1.0;
        let grows = since >= ${SCALE_INTERVAL}.0;
        state[${STATE.sinceScaled}] = select(since, 0.0, grows);
        state[${STATE.lossScale}] = select(lossScale, lossScale * 2.0, grows);
      }
    } else {
      state[${STATE.skipped}] += 1.0;
      state[${STATE.factor}] = 0.0;
      state[${STATE.sinceScaled}] = 0.0;
      state[${STATE.lossScale}] = lossScale * 0.5;
    }
  }`,
    )
  }`);
  const most = Math.min(clip, 3e38);
  const params = [most, gradientScale, Math.log(beta1), Math.log(beta2)].map(f32);
  gpu.run(kernel, [squared, state], params, 1);
}

/** Flat tensors of one size that AdamW works on. */
export interface AdamWTensors {
  /** The values that are trained. */
  readonly values: Tensor;
  /** Their gradients. */
  readonly gradients: Tensor;
  /** First moments, zeros in the beginning. */
  readonly first: Tensor;
  /** Second moments, likewise. */
  readonly second: Tensor;
}

/**
 * Updates values as `torch.optim.AdamW` does, unless `decideUpdate` has found the gradient not to be finite.
 *
 * Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
 *
 * @param tensors What is updated.
 * @param state See `updateState`.
 * @param rates Learning rates, float32; they change with every step and so are data.
 * @param group Which of the rates is meant.
 * @param constants Of AdamW.
 */
export function adamw(
  { values, gradients, first, second }: AdamWTensors,
  state: Tensor,
  rates: Tensor,
  group: number,
  { beta1, beta2, eps, weightDecay }: AdamWConstants,
): void {
  const { gpu, size } = values;
  for (const [name, tensor] of Object.entries({ gradients, first, second })) {
    if (tensor.size !== size) {
      throw new ShapeError(`adamw: ${name} [${tensor.shape}] do not fit values [${values.shape}].`);
    }
  }
  const v = vectors(size);
  const kernel = gpu.kernel(`adamw/${v.size}`, () =>
    `${v.code}
struct Params { n: u32, group: u32, rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32 }
@group(0) @binding(0) var<storage, read_write> values: array<T>;
@group(0) @binding(1) var<storage, read> gradients: array<T>;
@group(0) @binding(2) var<storage, read_write> first: array<T>;
@group(0) @binding(3) var<storage, read_write> second: array<T>;
@group(0) @binding(4) var<storage, read> state: array<f32>;
@group(0) @binding(5) var<storage, read> rates: array<f32>;
@group(0) @binding(6) var<uniform> p: Params;
${
      entry(
        gpu,
        SIZE,
        `let i = group * ${SIZE}u + lane;
  let factor = state[${STATE.factor}];
  if (i < p.n && factor > 0.0) {
    let rate = rates[p.group];
    let g = gradients[i] * factor;
    let m = first[i] + (g - first[i]) * p.rest1;
    let v = second[i] * p.beta2 + g * g * p.rest2;
    let denominator = sqrt(v) * state[${STATE.correction2}] + p.eps;
    first[i] = m;
    second[i] = v;
    values[i] = values[i] * (1.0 - rate * p.decay) - rate * state[${STATE.correction1}] * (m / denominator);
  }`,
      )
    }`);
  const n = size / v.size;
  const constants = [1 - beta1, beta2, 1 - beta2, eps, weightDecay].map(f32);
  const bindings = [values, gradients, first, second, state, rates];
  gpu.run(kernel, bindings, [n, group, ...constants], Math.ceil(n / SIZE));
}
