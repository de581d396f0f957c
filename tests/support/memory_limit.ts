import { OutOfMemoryError } from "../../kernels/runtime/errors.ts";
import type { Gpu } from "../../kernels/runtime/gpu.ts";

/** Until it is disposed of, a device makes no tensors beyond so many bytes in use. */
export function memoryLimit(gpu: Gpu, bytes: number): Disposable {
  const { empty } = gpu;
  gpu.empty = (...what) => {
    const tensor = empty.apply(gpu, what);
    if (gpu.memory.live <= bytes) return tensor;
    tensor.dispose();
    throw new OutOfMemoryError(`There is no memory beyond ${bytes} bytes.`);
  };
  return { [Symbol.dispose]: () => void (gpu.empty = empty) };
}
