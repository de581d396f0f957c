import { ShapeError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import type { Tensor } from "./tensor.ts";

/** Adds `from` to `into`, in place. Given to the tape, which stands below the operations. */
export type AddInto = (into: Tensor, from: Tensor) => void;

/** Given the gradient of an operation's output, hands gradients on to its inputs with `accumulate` or `target`. */
export type Backward = (dy: Tensor, tape: Tape) => void;

interface Node {
  name: string;
  outputs: readonly Tensor[];
  saved: readonly Tensor[];
  /** Hands on the gradients of the outputs, of which at least one is there. */
  play: (gradients: readonly (Tensor | undefined)[]) => void;
  /** The parameters that no operation before it used: their gradients are whole once it has been played. */
  completes: readonly Tensor[];
}

/**
 * Records operations as they run and plays them backward.
 *
 * An operation whose inputs need no gradient is not recorded, so nothing is kept for it and nothing is computed for it.
 */
export class Tape implements Disposable {
  /** Whether `checkpoint` computes again rather than keep. */
  readonly recomputes: boolean;
  readonly #gpu: Gpu;
  readonly #addInto: AddInto;
  readonly #nodes: Node[] = [];
  readonly #grads = new Map<Tensor, Tensor>();
  readonly #used = new Set<Tensor>();

  /** A tape on a device; `startTape` of `kernels/elementwise.ts` makes one. */
  constructor(gpu: Gpu, addInto: AddInto, recomputes = false) {
    this.recomputes = recomputes;
    this.#gpu = gpu;
    this.#addInto = addInto;
    gpu.tape = this;
  }

  /** Number of operations recorded. */
  get length(): number {
    return this.#nodes.length;
  }

  /**
   * Records how a gradient passes from an operation's output to its inputs.
   *
   * @param name The operation.
   * @param output What it returned.
   * @param inputs All that a gradient can flow to.
   * @param saved The tensors that `backward` reads; they stay alive until it has run.
   * @param backward Hands the output's gradient on.
   */
  record(
    name: string,
    output: Tensor,
    inputs: readonly Tensor[],
    saved: readonly Tensor[],
    backward: Backward,
  ): void {
    if (!inputs.some((input) => input.requiresGrad)) return;
    output.requiresGrad = true;
    for (const tensor of saved) tensor.retain();
    const completes = inputs.filter((input) => input.grad && !this.#used.has(input));
    for (const parameter of completes) this.#used.add(parameter);
    const play: Node["play"] = ([dy]) => backward(dy!, this);
    this.#nodes.push({ name, outputs: [output], saved, play, completes });
  }

  /**
   * Runs a part of a model and keeps nothing of it but `inputs`: it runs again when its gradient arrives.
   *
   * @param inputs The tensors that it reads beside parameters.
   * @param compute Runs it, always alike. What it returns may outlive its scopes.
   * @returns What `compute` returned.
   */
  checkpoint<T extends readonly Tensor[]>(inputs: readonly Tensor[], compute: () => T): T {
    const start = this.#nodes.length;
    const outputs = compute();
    const forgotten = this.#nodes.splice(start);
    for (const { saved } of forgotten) for (const tensor of saved) tensor.dispose();
    if (forgotten.length === 0) return outputs;
    for (const tensor of inputs) tensor.retain();
    const completes = forgotten.flatMap(({ completes }) => completes);
    const play: Node["play"] = (gradients) => {
      for (const parameter of completes) this.#used.delete(parameter);
      node.completes = [];
      this.#gpu.tape = this;
      const again = compute(); // leaves notes, which are played next
      this.#gpu.tape = undefined;
      again.forEach((output, i) => {
        this.#gpu.adopt(output);
        if (gradients[i]) this.#grads.set(output, gradients[i].retain());
      });
    };
    const node: Node = { name: "checkpoint", outputs, saved: inputs, play, completes };
    this.#nodes.push(node);
    return outputs;
  }

  /** Adds `gradient` to what has flowed to `tensor` so far. The tape may keep it: the caller must not write to it afterwards. */
  accumulate(tensor: Tensor, gradient: Tensor): void {
    if (!tensor.requiresGrad) return;
    const sum = tensor.grad ?? this.#grads.get(tensor);
    if (tensor.grad && !tensor.gradFilled) {
      this.#gpu.copy(gradient, tensor.grad);
      tensor.gradFilled = true;
    } else if (!sum) this.#grads.set(tensor, gradient.retain());
    else if (tensor.grad) this.#addInto(tensor.grad, gradient);
    else this.#addInto(this.#owned(tensor, sum), gradient);
  }

  /** The same for a gradient that `change` still works on in place: itself when nobody else looks at it, else a copy. */
  accumulateChanged(tensor: Tensor, gradient: Tensor, change: (own: Tensor) => void): void {
    if (!tensor.requiresGrad) return;
    const last = tensor.gradFilled ? undefined : tensor.grad;
    const own = last ??
      (gradient.exclusive ? gradient : this.#gpu.empty(tensor.shape, "float32", "gradient"));
    if (own !== gradient) this.#gpu.copy(gradient, own);
    change(own);
    if (own === last) tensor.gradFilled = true;
    else this.accumulate(tensor, own);
  }

  /**
   * Where a kernel may write a gradient of `tensor` itself, and whether it must add to what is there.
   */
  target(tensor: Tensor): { grad: Tensor; accumulate: boolean } {
    if (tensor.grad) {
      const accumulate = tensor.gradFilled;
      tensor.gradFilled = true;
      return { grad: tensor.grad, accumulate };
    }
    const sum = this.#grads.get(tensor);
    if (sum) return { grad: this.#owned(tensor, sum), accumulate: true };
    const grad = this.#gpu.detached(() => this.#gpu.empty(tensor.shape, tensor.dtype, "gradient"));
    this.#grads.set(tensor, grad);
    return { grad, accumulate: false };
  }

  /**
   * Plays the tape backward from `outputs`, freeing what each operation had saved as it passes.
   *
   * @param outputs Recorded tensors, the parts of a loss.
   * @param seed The gradient of each of them.
   */
  backward(outputs: readonly Tensor[], seed: Tensor): void {
    for (const _ of this.play(outputs, seed));
  }

  /** The same step by step: yields each parameter as soon as its gradient is whole. */
  *play(outputs: readonly Tensor[], seed: Tensor): Generator<Tensor, void, void> {
    const recorded = outputs.filter((output) => output.requiresGrad);
    if (recorded.length === 0) {
      throw new ShapeError(
        "Nothing that this loss depends on needs a gradient: is everything frozen?",
      );
    }
    this.#gpu.tape = undefined;
    for (const output of recorded) this.#grads.set(output, seed.retain());
    for (let node = this.#nodes.pop(); node; node = this.#nodes.pop()) {
      const gradients = node.outputs.map((output) => this.#grads.get(output));
      if (gradients.some((gradient) => gradient)) {
        for (const output of node.outputs) this.#grads.delete(output);
        using _scope = this.#gpu.scope();
        node.play(gradients);
        for (const gradient of gradients) gradient?.dispose();
      }
      for (const tensor of node.saved) tensor.dispose();
      yield* node.completes;
    }
  }

  /** Frees what it still holds and stops recording. */
  [Symbol.dispose](): void {
    if (this.#gpu.tape === this) this.#gpu.tape = undefined;
    for (const { saved } of this.#nodes) for (const tensor of saved) tensor.dispose();
    for (const gradient of this.#grads.values()) gradient.dispose();
    this.#nodes.length = 0;
    this.#grads.clear();
  }

  /** The sum itself when nobody else looks at it, otherwise a copy that takes its place. */
  #owned(tensor: Tensor, sum: Tensor): Tensor {
    if (sum.exclusive) return sum;
    const copy = this.#gpu.detached(() => this.#gpu.empty(sum.shape, sum.dtype, "gradient"));
    this.#gpu.copy(sum, copy);
    this.#grads.set(tensor, copy);
    sum.dispose();
    return copy;
  }
}
