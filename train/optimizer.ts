import { roundToHalf } from "../kernels/half.ts";
import {
  adamw,
  type AdamWConstants,
  decideUpdate,
  squaredNorm,
  STATE,
  updateState,
} from "../kernels/optimizer.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { sizeOf, type Tensor } from "../kernels/runtime/tensor.ts";
import { type HostTensor, readChecked, toFloat32 } from "../model/host_tensor.ts";
import type { ParameterGroup, Parameters } from "../model/parameters.ts";
import type { NamedTensor } from "./checkpoint.ts";

/** What AdamW is told. */
export interface AdamWOptions extends Partial<AdamWConstants> {
  /** Longest gradient; longer ones are scaled down to it. Infinity for any length. */
  readonly clip: number;
  /** By what losses are multiplied at first, which then adapts: for float16. Losses stay as they are unless given. */
  readonly lossScale?: number | undefined;
}

/** What became of an update, read from the device. */
export interface UpdateOutcome {
  /** Norm of the whole gradient before clipping. */
  readonly norm: number;
  /** Updates left out so far because the gradient was not finite. */
  readonly skipped: number;
  /** By what losses are multiplied from now on; 0 for losses as they are. */
  readonly lossScale: number;
}

/** AdamW over flat groups of parameters, with the gradient clipped to a length. */
export class AdamW implements Disposable {
  readonly #gpu: Gpu;
  readonly #groups: readonly ParameterGroup[];
  readonly #constants: AdamWConstants;
  readonly #clip: number;
  readonly #lossScale: number;
  readonly #moments: readonly { first: Tensor; second: Tensor }[];
  readonly #state: Tensor;

  /** An optimizer whose moments are zero. */
  constructor(gpu: Gpu, groups: readonly ParameterGroup[], options: AdamWOptions) {
    const { clip, lossScale = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0.01 } =
      options;
    this.#gpu = gpu;
    this.#groups = groups;
    this.#constants = { beta1, beta2, eps, weightDecay };
    this.#clip = clip;
    this.#lossScale = lossScale;
    [this.#moments, this.#state] = gpu.detached(() => [
      groups.map(({ values }) => ({
        first: gpu.zeros(values.shape, "float32", "optimizer"),
        second: gpu.zeros(values.shape, "float32", "optimizer"),
      })),
      updateState(gpu, 0, lossScale),
    ]);
  }

  /** The gradient of a loss from which a backward pass begins [1]: 1, or the loss scale. The caller's to free. */
  seed(): Tensor {
    const gpu = this.#gpu;
    return gpu.detached(() => {
      if (!this.#lossScale) return gpu.tensor(new Float32Array([1]), [1], "seed");
      using scale = this.#state.view([1], STATE.lossScale);
      const seed = gpu.empty([1], "float32", "seed");
      gpu.copy(scale, seed);
      return seed;
    });
  }

  /**
   * Updates all parameters from their gradients, unless these are not finite.
   *
   * @param rates Learning rate of each group by its name.
   * @param gradientScale What the gradients are to be multiplied by first.
   * @returns What became of it, on the device; for `outcome`. The caller's to free.
   */
  step(rates: Readonly<Record<string, number>>, gradientScale = 1): Tensor {
    const gpu = this.#gpu;
    using scope = gpu.scope();
    for (const { tensors } of this.#groups) {
      for (const tensor of tensors) if (!tensor.gradFilled) gpu.clear(tensor.grad!);
    }
    const perGroup = Float32Array.from(this.#groups, ({ name }) => rates[name]!);
    const rateTensor = gpu.tensor(perGroup, [perGroup.length], "learning rates");
    const squared = squaredNorm(this.#groups.map(({ gradients }) => gradients));
    decideUpdate(this.#state, squared, this.#constants, this.#clip, gradientScale);
    this.#groups.forEach(({ values, gradients, halves }, i) => {
      adamw(
        { values, gradients, ...this.#moments[i]! },
        this.#state,
        rateTensor,
        i,
        this.#constants,
      );
      if (halves) roundToHalf(values, halves);
    });
    const outcome = gpu.empty(this.#state.shape, "float32", "outcome of an update");
    gpu.copy(this.#state, outcome);
    return scope.release(outcome);
  }

  /** Reads what `step` returned. */
  static outcome(values: Float32Array): UpdateOutcome {
    const { norm, skipped, lossScale } = STATE;
    return { norm: values[norm]!, skipped: values[skipped]!, lossScale: values[lossScale]! };
  }

  /** Everything that must be kept to go on later, by name: the trained parameters, their moments, the state. The views are freed with `scope`. */
  *tensors(): Generator<NamedTensor> {
    yield ["optimizer", this.#state];
    for (const [i, { tensors, names }] of this.#groups.entries()) {
      const { first, second } = this.#moments[i]!;
      for (const [k, tensor] of tensors.entries()) {
        const start = (tensor.offset - this.#groups[i]!.values.offset) / 4;
        yield [`weight.${names[k]}`, tensor];
        yield [`first.${names[k]}`, first.view(tensor.shape, start)];
        yield [`second.${names[k]}`, second.view(tensor.shape, start)];
      }
    }
  }

  /**
   * Takes up moments that another optimizer left.
   *
   * @param parameters What the groups are of.
   * @param moments Moments by the names in weight files; parameters without any keep zeros.
   * @param updates Updates that made them.
   */
  async takeUp(
    parameters: Parameters,
    moments: ReadonlyMap<string, { first: HostTensor; second: HostTensor }>,
    updates: number,
  ): Promise<void> {
    const gpu = this.#gpu;
    using _scope = gpu.scope();
    const own = new Map(this.tensors());
    for (const { name, parts } of parameters.specs) {
      let start = 0;
      for (const part of parts) {
        const found = moments.get(part.name);
        for (const which of ["first", "second"] as const) {
          const target = own.get(`${which}.${name}`)?.view(part.shape, start);
          if (!found || !target) continue;
          gpu.write(target, toFloat32(await readChecked(found[which]), found[which].dtype));
        }
        start += sizeOf(part.shape);
      }
    }
    const state = new Float32Array(this.#state.size);
    state[STATE.updates] = updates;
    state[STATE.lossScale] = this.#lossScale;
    gpu.write(this.#state, state);
  }

  /** Frees the moments. */
  [Symbol.dispose](): void {
    for (const { first, second } of this.#moments) [first, second].forEach((t) => t.dispose());
    this.#state.dispose();
  }
}
