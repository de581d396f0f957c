import type { Tensor } from "./tensor.ts";

/**
 * Owns the tensors made while it is the innermost scope, and frees them when it ends.
 *
 * ```ts ignore
 * using scope = gpu.scope();
 * const h = rmsNorm(x, weight, 1e-5);
 * return scope.keep(matmul(h, w)); // `h` is freed here, the product belongs to the outer scope
 * ```
 */
export class Scope implements Disposable {
  readonly #stack: Scope[];
  readonly #owned = new Set<Tensor>();

  /** Opens a scope on a device's stack of scopes; `Gpu.scope` calls it. */
  constructor(stack: Scope[]) {
    this.#stack = stack;
    stack.push(this);
  }

  /** Takes a tensor into this scope. */
  own(tensor: Tensor): void {
    this.#owned.add(tensor);
  }

  /** Hands a tensor over to the enclosing scope, or to the caller when there is none. */
  keep<T extends Tensor>(tensor: T): T {
    if (this.#owned.delete(tensor)) this.#stack[this.#stack.indexOf(this) - 1]?.own(tensor);
    return tensor;
  }

  /** Hands a tensor over to the caller: no scope frees it any more. */
  release<T extends Tensor>(tensor: T): T {
    this.#owned.delete(tensor);
    return tensor;
  }

  /** Frees what it owns. */
  [Symbol.dispose](): void {
    this.#stack.splice(this.#stack.indexOf(this), 1);
    for (const tensor of this.#owned) tensor.dispose();
    this.#owned.clear();
  }
}
