import { ShapeError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import type { Storage } from "./memory.ts";

/**
 * Kinds of numbers that a tensor holds on the device. `q8` are blocks of 32 numbers of a row: a float32 scale, and 32
 * signed bytes by which it is multiplied.
 */
export type Dtype = "float32" | "float16" | "bfloat16" | "q8" | "uint32" | "int32";

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<Dtype, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  q8: 36 / 32,
  uint32: 4,
  int32: 4,
};

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/**
 * Numbers on the device, row-major, owned by whoever made them: by `using`, or by the scope in which they were made.
 *
 * Several tensors can look at one storage (`view`); the storage is freed when the last of them is disposed of.
 */
export class Tensor implements Disposable {
  /** The device it lives on. */
  readonly gpu: Gpu;
  /** Extent of each dimension. */
  readonly shape: readonly number[];
  /** Kind of its elements. */
  readonly dtype: Dtype;
  /** Number of elements. */
  readonly size: number;
  /** Size in bytes. */
  readonly bytes: number;
  /** Byte at which it begins in its storage. */
  readonly offset: number;
  /** Whether a gradient flows to it. Set by operations for what they return, by the trainer for parameters. */
  requiresGrad = false;
  /** Where a parameter's gradient is summed. Only leaves have one. */
  grad?: Tensor;
  /** A copy of its elements in half precision, which matrix products read in its place. */
  half?: Tensor;
  /** A copy from which a processor that poses as a GPU multiplies few rows faster, see `makeImage`. */
  image?: GPUTexture | undefined;
  /** Whether `grad` holds anything yet in this step; if not, the first writer overwrites it. */
  gradFilled = false;
  #storage: Storage | undefined;
  #refs = 1;

  /** For `Gpu` and `view`; everyone else asks the device for tensors. */
  constructor(gpu: Gpu, storage: Storage, shape: readonly number[], dtype: Dtype, offset = 0) {
    this.gpu = gpu;
    this.shape = shape;
    this.dtype = dtype;
    this.size = sizeOf(shape);
    this.bytes = this.size * DTYPE_BYTES[dtype];
    this.offset = offset;
    this.#storage = storage;
    storage.refs++;
  }

  /** The storage. Throws when the tensor has been disposed of. */
  get storage(): Storage {
    if (!this.#storage) {
      throw new ShapeError(`A tensor of shape [${this.shape}] was used after it had been freed.`);
    }
    return this.#storage;
  }

  /** Whether it has been freed. */
  get disposed(): boolean {
    return this.#storage === undefined;
  }

  /** Extent of the last dimension. */
  get width(): number {
    return this.shape.at(-1) ?? 1;
  }

  /** Number of rows when all dimensions but the last are folded into one. */
  get rows(): number {
    return this.size / this.width;
  }

  /** Whether nothing else looks at its storage, so that it may be overwritten. */
  get exclusive(): boolean {
    return this.storage.refs === 1 && this.#refs === 1;
  }

  /**
   * A tensor of another shape over the same elements, or some of them. Gradients do not pass through; see `reshape`.
   *
   * @param shape The new shape.
   * @param start First element, counted in this tensor. Its byte offset must suit the device (a multiple of 256 bytes always does).
   */
  view(shape: readonly number[], start = 0): Tensor {
    const size = sizeOf(shape);
    if (start + size > this.size) {
      throw new ShapeError(
        `A view [${shape}] from element ${start} exceeds a tensor [${this.shape}].`,
      );
    }
    const offset = this.offset + start * DTYPE_BYTES[this.dtype];
    return this.gpu.adopt(new Tensor(this.gpu, this.storage, shape, this.dtype, offset));
  }

  /** Keeps it alive until one more `dispose`. */
  retain(): this {
    this.#refs++;
    return this;
  }

  /** Lets go of it; frees it when nobody else holds it. */
  dispose(): void {
    if (!this.#storage || --this.#refs > 0) return;
    const storage = this.#storage;
    this.#storage = undefined;
    if (--storage.refs === 0) this.gpu.free(storage);
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
