import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";

const CHUNK_BYTES = 1 << 26;

/** Reads many tensors from the device in order, several at a time, since each reading stops the device. */
export class ChunkedReader {
  readonly #gpu: Gpu;
  readonly #tensors: readonly Tensor[];
  #first = 0;
  #chunk: Promise<ArrayBuffer[]> | undefined;
  #count = 0;

  /** A reader of tensors, which must live until they have been read. */
  constructor(gpu: Gpu, tensors: readonly Tensor[]) {
    this.#gpu = gpu;
    this.#tensors = tensors;
  }

  /** The bytes of a tensor by its index. */
  async read(index: number): Promise<ArrayBuffer> {
    if (index < this.#first || index >= this.#first + this.#count) {
      let end = index, bytes = 0;
      do bytes += this.#tensors[end++]!.bytes; while (
        end < this.#tensors.length && bytes + this.#tensors[end]!.bytes <= CHUNK_BYTES
      );
      [this.#first, this.#count] = [index, end - index];
      this.#chunk = this.#gpu.readAll(this.#tensors.slice(index, end));
    }
    return (await this.#chunk!)[index - this.#first]!;
  }
}
