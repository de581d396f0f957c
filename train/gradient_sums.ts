import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { ParameterGroup } from "../model/parameters.ts";
import type { Communicator } from "./communicator.ts";
import { buckets } from "./data_parallel.ts";

/** A piece of a flat gradient, sent at once. */
interface Bucket {
  readonly gradients: Tensor;
  /** The parameters whose gradients lie in it, wholly or in part. */
  readonly parameters: readonly Tensor[];
}

/**
 * Adds gradients up over the ranks, bucket by bucket, while the backward pass goes on.
 *
 * Buckets go in the order in which a backward pass fills them, the last layers first, and on every rank in the same,
 * also where a rank has nothing to learn. As soon as one is whole, what has been recorded goes to the device, and while
 * the device computes the gradients of the next bucket, this one is read and summed.
 *
 * ```ts ignore
 * using sums = new GradientSums(gpu, ranks, vlm.groups);
 * for (const parameter of tape.play([loss], seed)) await sums.complete(parameter);
 * await sums.finish();
 * ```
 */
export class GradientSums implements Disposable {
  readonly #gpu: Gpu;
  readonly #sum: (values: Float32Array<ArrayBuffer>) => Promise<unknown>;
  /** Buckets that have not been sent yet. */
  readonly #waiting: Bucket[];
  readonly #views: readonly Tensor[];
  readonly #complete = new Set<Tensor>();
  /** Begins to read what was submitted last. */
  #read: (() => void) | undefined;
  #submitted = 0;
  #summed: Promise<unknown> = Promise.resolve();

  /**
   * Sums of what the groups' gradients will be.
   *
   * @param sum Adds numbers up over the ranks, in place.
   * @param most Numbers of a bucket.
   */
  constructor(
    gpu: Gpu,
    ranks: Communicator,
    groups: readonly ParameterGroup[],
    sum: (values: Float32Array<ArrayBuffer>) => Promise<unknown> = (values) => ranks.sum(values),
    most?: number,
  ) {
    this.#gpu = gpu;
    this.#sum = sum;
    this.#waiting = gpu.detached(() =>
      groups.flatMap(({ gradients, tensors }) =>
        buckets(gradients, most).reverse().map((bucket) => ({
          gradients: bucket,
          parameters: tensors.filter(({ grad }) => overlap(grad!, bucket)),
        }))
      )
    );
    this.#views = this.#waiting.map(({ gradients }) => gradients);
  }

  /** To be told that nothing more flows to a parameter. Sends the buckets that are whole now. */
  async complete(parameter: Tensor): Promise<void> {
    this.#complete.add(parameter);
    let whole = 0;
    while (this.#waiting[whole]?.parameters.every((each) => this.#complete.has(each))) whole++;
    if (whole > 0) await this.#send(whole);
  }

  /** Sends the rest, where what nothing has flowed to is zero, and waits for all sums. */
  async finish(): Promise<void> {
    if (this.#waiting.length > 0) await this.#send(this.#waiting.length);
    this.#read?.();
    await this.#summed;
  }

  /** Gives the device the next part of its work, with copies of some buckets at its end, and reads what came before. */
  async #send(count: number): Promise<void> {
    const reads = this.#waiting.splice(0, count).map(({ gradients, parameters }) => {
      for (const parameter of parameters) {
        if (!parameter.gradFilled) this.#gpu.clear(parameter.grad!);
        parameter.gradFilled = true;
      }
      return { gradients, bytes: this.#gpu.recordRead([gradients]) };
    });
    this.#read?.(); // the call itself waits for the part before
    this.#gpu.submit();
    const now = performance.now();
    const lasted = now - this.#submitted;
    this.#submitted = now;
    this.#read = () => {
      for (const { gradients, bytes } of reads) this.#add(gradients, bytes());
    };
    // sums go on while the device is busy, with this part about as long as with the one before
    await within(lasted / 2, this.#summed);
  }

  /** Sums a bucket after those before it, which all ranks do in the same order. */
  #add(gradients: Tensor, bytes: Promise<ArrayBuffer[]>): void {
    this.#summed = Promise.all([bytes, this.#summed]).then(async ([[buffer]]) => {
      const values = new Float32Array(buffer!);
      await this.#sum(values);
      this.#gpu.write(gradients, values);
    });
    this.#summed.catch(() => {}); // `finish` throws it
  }

  /** Frees what it made. */
  [Symbol.dispose](): void {
    for (const view of this.#views) view.dispose();
  }
}

/** Whether two tensors of one storage share elements. */
function overlap(a: Tensor, b: Tensor): boolean {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

/** Waits for a promise, but not longer than some milliseconds. */
async function within(most: number, promise: Promise<unknown>): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, most);
  await Promise.race([promise, over]);
  clearTimeout(timer);
}
