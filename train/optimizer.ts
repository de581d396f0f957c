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
import { type HostTensor, readFinite } from "../model/host_tensor.ts";
import type { ParameterGroup, Parameters } from "../model/parameters.ts";
import type { Communicator } from "./communicator.ts";
import { gatherShards, shardOf } from "./data_parallel.ts";

/** A tensor of a run's state by name: a trained parameter or what the optimizer keeps of it. */
export type NamedTensor = readonly [name: string, tensor: Tensor];

/** What AdamW is told. */
export interface AdamWOptions extends Partial<AdamWConstants> {
  /** Longest gradient; longer ones are scaled down to it. Infinity for any length. */
  readonly clip: number;
  /** By what losses are multiplied at first, which then adapts: for float16. Losses stay as they are unless given. */
  readonly lossScale?: number | undefined;
  /** Names of the groups whose weights do not decay; none unless given. */
  readonly undecayed?: ReadonlySet<string> | undefined;
  /** Which of several ranks this is, where each keeps the moments of its own shard of the parameters only. */
  readonly shard?: { readonly rank: number; readonly size: number } | undefined;
}

/** Moments of all parameters, by group. */
export interface Moments extends Disposable {
  /** First and second moments, flat. */
  readonly groups: readonly { readonly first: Tensor; readonly second: Tensor }[];
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
  readonly #undecayed: ReadonlySet<string>;
  readonly #clip: number;
  readonly #lossScale: number;
  readonly #moments: Moments["groups"];
  readonly #shards: readonly { readonly start: number; readonly count: number }[];
  readonly #sharded: boolean;
  readonly #state: Tensor;

  /** An optimizer whose moments are zero. */
  constructor(gpu: Gpu, groups: readonly ParameterGroup[], options: AdamWOptions) {
    const { shard = { rank: 0, size: 1 }, lossScale = 0 } = options;
    const { clip, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0.01 } = options;
    this.#gpu = gpu;
    this.#groups = groups;
    this.#constants = { beta1, beta2, eps, weightDecay };
    this.#undecayed = options.undecayed ?? new Set();
    this.#clip = clip;
    this.#lossScale = lossScale;
    this.#sharded = shard.size > 1;
    this.#shards = groups.map(({ values }) => shardOf(values, shard));
    this.#moments = this.#zeros(this.#shards.map(({ count }) => count));
    this.#state = gpu.detached(() => updateState(gpu, 0, lossScale));
  }

  #zeros(sizes: readonly number[]): Moments["groups"] {
    const zeros = (size: number) => this.#gpu.zeros([Math.max(1, size)], "float32", "optimizer");
    return this.#gpu.detached(() =>
      sizes.map((size) => ({ first: zeros(size), second: zeros(size) }))
    );
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
    this.#groups.forEach(({ name, values, gradients, halves }, i) => {
      const { start, count } = this.#shards[i]!;
      if (count === 0) return;
      const own = {
        values: values.view([count], start),
        gradients: gradients.view([count], start),
      };
      const constants = this.#undecayed.has(name)
        ? { ...this.#constants, weightDecay: 0 }
        : this.#constants;
      adamw({ ...own, ...this.#moments[i]! }, this.#state, rateTensor, i, constants);
      if (halves && !this.#sharded) roundToHalf(values, halves);
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

  /** Its own state on the device: counts of updates, and the last norm. */
  get state(): Tensor {
    return this.#state;
  }

  /** Moments of all parameters: its own, or where it has only a shard, others, which begin as zeros. */
  moments(): Moments {
    if (!this.#sharded) return { groups: this.#moments, [Symbol.dispose]: () => {} };
    const groups = this.#zeros(this.#groups.map(({ values }) => values.size));
    return { groups, [Symbol.dispose]: () => freeMoments(groups) };
  }

  /** The same, filled with the shards of all ranks. */
  async gatherMoments(ranks: Communicator): Promise<Moments> {
    const moments = this.moments();
    for (const [i, { first, second }] of this.#sharded ? moments.groups.entries() : []) {
      const own = this.#shards[i]!.count > 0 ? this.#moments[i] : undefined;
      await gatherShards(this.#gpu, ranks, own?.first, first);
      await gatherShards(this.#gpu, ranks, own?.second, second);
    }
    return moments;
  }

  /** Takes its own shard out of moments that have been filled. */
  takeMoments({ groups }: Moments): void {
    if (!this.#sharded) return;
    using _scope = this.#gpu.scope();
    for (const [i, { start, count }] of this.#shards.entries()) {
      if (count === 0) continue;
      this.#gpu.copy(groups[i]!.first.view([count], start), this.#moments[i]!.first);
      this.#gpu.copy(groups[i]!.second.view([count], start), this.#moments[i]!.second);
    }
    this.#gpu.submit();
  }

  /** Brings the values that the ranks have updated together, where each has only a shard. */
  async gatherValues(ranks: Communicator): Promise<void> {
    if (!this.#sharded) return;
    using _scope = this.#gpu.scope();
    for (const [i, { values }] of this.#groups.entries()) {
      const { start, count } = this.#shards[i]!;
      const own = count > 0 ? values.view([count], start) : undefined;
      await gatherShards(this.#gpu, ranks, own, values);
    }
    for (const { values, halves } of this.#groups) if (halves) roundToHalf(values, halves);
  }

  /**
   * Everything that must be kept to go on later, by name: the trained parameters, their moments, the state. The views
   * are freed with `scope`.
   *
   * @param moments See `moments`.
   */
  *tensors({ groups }: Moments): Generator<NamedTensor> {
    yield ["optimizer", this.#state];
    for (const [i, { tensors, names }] of this.#groups.entries()) {
      const { first, second } = groups[i]!;
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
   * @param left Moments by the names in weight files; parameters without any keep zeros.
   * @param updates Updates that made them.
   * @param moments Where they go; see `moments`.
   * @param source What the file is called in errors.
   * @throws {FormatError} where one is not finite.
   */
  async takeUp(
    parameters: Parameters,
    left: ReadonlyMap<string, { first: HostTensor; second: HostTensor }>,
    updates: number,
    moments: Moments,
    source: string,
  ): Promise<void> {
    const gpu = this.#gpu;
    using _scope = gpu.scope();
    const own = new Map(this.tensors(moments));
    for (const { name, parts } of parameters.specs) {
      let start = 0;
      for (const part of parts) {
        const found = left.get(part.name);
        for (const which of ["first", "second"] as const) {
          const target = own.get(`${which}.${name}`)?.view(part.shape, start);
          if (!found || !target) continue;
          const named = { ...found[which], name: `${part.name}'s ${which} moment` };
          gpu.write(target, await readFinite(named, source));
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
    freeMoments(this.#moments);
    this.#state.dispose();
  }
}

function freeMoments(groups: Moments["groups"]): void {
  for (const { first, second } of groups) [first, second].forEach((tensor) => tensor.dispose());
}
