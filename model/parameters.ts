import { roundToHalf } from "../kernels/half.ts";
import { imageBytes, makeImage } from "../kernels/matmul/image.ts";
import { ShapeError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { roundUp } from "../kernels/runtime/kernel.ts";
import { isHalf, operandOf, type Precision } from "../kernels/runtime/precision.ts";
import { type Dtype, DTYPE_BYTES, sizeOf, type Tensor } from "../kernels/runtime/tensor.ts";
import { ChunkedReader } from "./chunked_reader.ts";
import {
  fromFloat32,
  type HostDtype,
  type HostTensor,
  readFinite,
  toFloat32,
} from "./host_tensor.ts";
import { drawInitial, type ParameterPart, type ParameterSpec } from "./parameter_spec.ts";
import { dequantize, quantize } from "./quantize.ts";
import type { Random } from "./random.ts";

export * from "./parameter_spec.ts";
export type { Quantization } from "./quantize.ts";

/** Parameters that train together: their values lie in one flat tensor, their gradients in another, in the same places. */
export interface ParameterGroup {
  /** The name that `train` gave, for example of a learning rate. */
  readonly name: string;
  /** All values, with padding between parameters. */
  readonly values: Tensor;
  /** All gradients. */
  readonly gradients: Tensor;
  /** All values in half precision, where products read them so. */
  readonly halves?: Tensor;
  /** The parameters inside, in order. */
  readonly tensors: readonly Tensor[];
  /** Their names. */
  readonly names: readonly string[];
}

const ALIGN = 256; // bytes, at which every device can bind

/** How a model's parameters are kept on the device. */
export interface ParameterOptions {
  /** The group in which a parameter trains, or nothing when it is frozen. */
  readonly train?: ((spec: ParameterSpec) => string | undefined) | undefined;
  /** To what the operands of matrix products are rounded; float32 unless given. */
  readonly precision?: Precision | undefined;
  /** In what they will be saved, if at all. What is frozen keeps its float32 beside numbers of fewer digits than that. */
  readonly saved?: "float32" | "float16" | undefined;
  /** Which frozen parameters are kept in 8 bits, and not as float32 beside; none unless given. */
  readonly quantized?: ((spec: ParameterSpec) => boolean) | undefined;
  /** Which of them products of few rows will read, for which a processor keeps them a second time, see `makeImage`. */
  readonly imaged?: ((spec: ParameterSpec) => boolean) | undefined;
}

/**
 * The parameters of a model on the device.
 *
 * Those that train lie together in flat groups, so that the optimizer takes them all in one pass. In half precision the
 * operands of matrix products have a copy in it, and those that are frozen nothing else, unless they will be saved in more.
 */
export class Parameters implements Disposable {
  /** What the model consists of. */
  readonly specs: readonly ParameterSpec[];
  /** The flat groups of what trains. */
  readonly groups: readonly ParameterGroup[];
  readonly #gpu: Gpu;
  readonly #tensors = new Map<string, Tensor>();
  readonly #precision: Precision;
  readonly #imaged: readonly Tensor[];

  /** Allocates the parameters of a model, with undefined values. */
  constructor(
    gpu: Gpu,
    specs: readonly ParameterSpec[],
    options: ParameterOptions = {},
  ) {
    const { train = () => undefined, precision = "float32", saved } = options;
    const { quantized = () => false, imaged = () => false } = options;
    this.#gpu = gpu;
    this.#precision = precision;
    this.specs = specs;
    const byGroup = Map.groupBy(specs, train);
    this.groups = gpu.detached(() => {
      for (const spec of byGroup.get(undefined) ?? []) {
        const dtype: Dtype = quantized(spec) ? "q8" : spec.operand ? precision : "float32";
        const keeps = isHalf(dtype) && saved !== undefined && saved !== dtype;
        const tensor = gpu.empty(spec.shape, keeps ? "float32" : dtype, "frozen weights");
        if (keeps) tensor.half = gpu.empty(spec.shape, dtype, "frozen weights");
        this.#tensors.set(spec.name, tensor);
      }
      byGroup.delete(undefined);
      return [...byGroup].flatMap(([name, members]) => this.#allocate(name!, members));
    });
    this.#imaged = specs.filter(imaged).map(({ name }) => operandOf(this.get(name)));
  }

  /** A parameter by its name. */
  get(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (!tensor) throw new ShapeError(`The model has no parameter "${name}".`);
    return tensor;
  }

  /** The tensors of a weight file that this model takes, by name, with their shapes. */
  expected(): Map<string, readonly number[]> {
    return new Map(
      this.specs.flatMap(({ parts }) => parts.map(({ name, shape }) => [name, shape])),
    );
  }

  /** Number of values. */
  get count(): number {
    return this.specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  }

  /** Number of values that train. */
  get trainedCount(): number {
    return this.groups.flatMap(({ tensors }) => tensors).reduce((sum, { size }) => sum + size, 0);
  }

  /** Bytes of the values, their copies and their gradients. */
  get bytes(): number {
    const flat = this.groups.flatMap(({ values, gradients, halves }) =>
      halves ? [values, gradients, halves] : [values, gradients]
    );
    const frozen = [...this.#tensors.values()].filter(({ requiresGrad }) => !requiresGrad);
    const copies = frozen.flatMap((tensor) => tensor.half ? [tensor, tensor.half] : [tensor]);
    const images = this.#imaged.map(({ image }) => image ? imageBytes(image) : 0);
    return [...flat, ...copies].map(({ bytes }) => bytes).concat(images).reduce((a, b) => a + b, 0);
  }

  /** Draws all values anew, in the order of the specs. Parts for which `only` is false keep theirs. */
  initialize(random: Random, only: (part: ParameterPart) => boolean = () => true): void {
    for (const { part, target } of this.#places()) {
      if (!only(part)) continue;
      this.#write(target, drawInitial(part.initial, target.size, random));
    }
    this.refresh();
  }

  /**
   * Reads values from tensors that `matchWeights` has found to fit, one at a time. Parts that `from` lacks keep theirs.
   *
   * @param source What the file is called in errors.
   * @throws {FormatError} that names a tensor with numbers that are not finite.
   */
  async load(from: ReadonlyMap<string, HostTensor>, source: string): Promise<void> {
    for (const { part, target } of this.#places()) {
      const tensor = from.get(part.name);
      if (tensor) this.#write(target, await readFinite(tensor, source));
    }
    this.refresh();
  }

  /** Makes the copies in half precision and the images anew, after values have been written. */
  refresh(): void {
    for (const { values, halves } of this.groups) if (halves) roundToHalf(values, halves);
    for (const tensor of this.#tensors.values()) {
      if (tensor.half && !tensor.requiresGrad) roundToHalf(tensor, tensor.half);
    }
    for (const weight of this.#imaged) weight.image = makeImage(weight, weight.image);
  }

  /** The values as tensors for a weight file, read from the device when asked. */
  *tensors(dtype: HostDtype = "float32"): Generator<HostTensor> {
    const reader = new ChunkedReader(this.#gpu, this.specs.map(({ name }) => this.get(name)));
    for (const [index, { name, shape, parts }] of this.specs.entries()) {
      const kept = this.get(name).dtype as Precision | "q8";
      const bytes = DTYPE_BYTES[kept];
      let start = 0;
      for (const part of parts) {
        const at = start;
        const size = sizeOf(part.shape);
        start += size;
        const read = async (): Promise<Uint8Array<ArrayBuffer>> => {
          const values = new Uint8Array(await reader.read(index), bytes * at, bytes * size);
          const floats = kept === "q8"
            ? dequantize(new Uint32Array(values.buffer, values.byteOffset, values.length / 4))
            : toFloat32(values, kept);
          return fromFloat32(floats, dtype);
        };
        yield { name: part.name, dtype, shape: part.shape, read };
      }
      if (start !== sizeOf(shape)) {
        throw new ShapeError(`The parts of "${name}" do not fill [${shape}].`);
      }
    }
  }

  /** Forgets the gradients of the step before. */
  zeroGradients(): void {
    for (const { tensors } of this.groups) for (const tensor of tensors) tensor.gradFilled = false;
  }

  /** Frees everything. */
  [Symbol.dispose](): void {
    for (const { values, gradients, halves, tensors } of this.groups) {
      for (const tensor of tensors) tensor.grad?.dispose();
      values.dispose();
      gradients.dispose();
      halves?.dispose();
    }
    for (const { image } of this.#imaged) if (image) this.#gpu.freeTexture(image);
    for (const tensor of this.#tensors.values()) {
      tensor.half?.dispose();
      tensor.dispose();
    }
    this.#tensors.clear();
  }

  /** Each part with a view of its place on the device. */
  *#places(): Generator<{ part: ParameterPart; target: Tensor }> {
    for (const { name, parts } of this.specs) {
      let start = 0;
      for (const part of parts) {
        using target = this.#gpu.detached(() => this.get(name).view(part.shape, start));
        start += target.size;
        yield { part, target };
      }
    }
  }

  #write(target: Tensor, values: Float32Array<ArrayBuffer>): void {
    const { dtype } = target;
    if (dtype === "q8") return this.#gpu.write(target, quantize(values));
    if (!isHalf(dtype)) return this.#gpu.write(target, values);
    const { buffer, byteOffset } = fromFloat32(values, dtype);
    this.#gpu.write(target, new Uint16Array(buffer, byteOffset, values.length));
  }

  /** Lays parameters out in as many flat tensors as the device's largest binding asks for. */
  #allocate(name: string, members: readonly ParameterSpec[]): ParameterGroup[] {
    const most = this.#gpu.device.limits.maxStorageBufferBindingSize / 4;
    const precision = this.#precision;
    const align = ALIGN / DTYPE_BYTES[precision];
    const runs: { specs: ParameterSpec[]; size: number }[] = [];
    for (const spec of members) {
      const size = roundUp(sizeOf(spec.shape), align);
      const last = runs.at(-1);
      if (last && last.size + size <= most) {
        last.specs.push(spec);
        last.size += size;
      } else runs.push({ specs: [spec], size });
    }
    return runs.map(({ specs, size }) => {
      const values = this.#gpu.zeros([size], "float32", "trained weights");
      const gradients = this.#gpu.zeros([size], "float32", "gradients");
      const halves = isHalf(precision)
        ? this.#gpu.zeros([size], precision, "trained weights in half precision")
        : undefined;
      let start = 0;
      const tensors = specs.map((spec) => {
        const tensor = values.view(spec.shape, start);
        tensor.grad = gradients.view(spec.shape, start);
        tensor.requiresGrad = true;
        if (halves && spec.operand) tensor.half = halves.view(spec.shape, start);
        start += roundUp(tensor.size, align);
        this.#tensors.set(spec.name, tensor);
        return tensor;
      });
      const names = specs.map(({ name }) => name);
      return { name, values, gradients, ...halves && { halves }, tensors, names };
    });
  }
}
