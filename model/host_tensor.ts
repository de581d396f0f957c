import { FormatError, ShapeError } from "../kernels/runtime/errors.ts";
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
} from "./half.ts";

/** The kinds of number that a weight file may hold. */
export type HostDtype =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "int64"
  | "int32"
  | "int16"
  | "int8"
  | "uint8"
  | "uint32"
  | "bool";

/** Bytes of one element. */
export const ELEMENT_SIZE: Readonly<Record<HostDtype, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  uint32: 4,
  bool: 1,
};

/** A tensor that lies outside the device: in a file, or in memory. */
export interface HostTensor {
  /** Its name in the file. */
  readonly name: string;
  /** Its kind of number. */
  readonly dtype: HostDtype;
  /** Its extents; empty for a scalar. */
  readonly shape: readonly number[];
  /** Reads its elements: little-endian, contiguous, in row-major order. */
  read(): Promise<Uint8Array<ArrayBuffer>>;
}

/** Whether a value of a checkpoint is a tensor. */
export function isHostTensor(value: unknown): value is HostTensor {
  return typeof value === "object" && value !== null && "read" in value && "dtype" in value &&
    "shape" in value;
}

/** How many elements a shape has. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** How many bytes a tensor's elements take. */
export function byteLength(tensor: Pick<HostTensor, "dtype" | "shape">): number {
  return elementCount(tensor.shape) * ELEMENT_SIZE[tensor.dtype];
}

/**
 * Reads a tensor and makes sure that it gave as many bytes as its shape says.
 *
 * @throws {ShapeError} if it did not.
 */
export async function readChecked(tensor: HostTensor): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await tensor.read();
  if (bytes.byteLength !== byteLength(tensor)) {
    throw new ShapeError(
      `The tensor ${tensor.name} of shape [${tensor.shape}] and type ${tensor.dtype} takes ` +
        `${byteLength(tensor)} bytes, but gave ${bytes.byteLength}.`,
    );
  }
  return bytes;
}

/**
 * Reads a tensor's elements as float32, all of which must be finite: one that is not would spoil every answer.
 *
 * @param source What the file is called in the error.
 * @throws {FormatError} that names the tensor and says how many of its numbers are NaN or infinite.
 */
export async function readFinite(
  tensor: HostTensor,
  source: string,
): Promise<Float32Array<ArrayBuffer>> {
  const values = toFloat32(await readChecked(tensor), tensor.dtype);
  let bad = 0;
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) bad++;
  if (bad === 0) return values;
  throw new FormatError(
    `${source} cannot be used: ${tensor.name} holds NaN or infinity (${bad} of its ${values.length} numbers). ` +
      "Take what was saved earlier, or make it anew.",
  );
}

/**
 * The elements as float32. For `float32` that stand aligned this is a view of `bytes`, otherwise
 * a copy. Integers beyond 2²⁴ and float64 are rounded.
 *
 * @throws {ShapeError} if the bytes are not a whole number of elements.
 */
export function toFloat32(
  bytes: Uint8Array<ArrayBuffer>,
  dtype: HostDtype,
): Float32Array<ArrayBuffer> {
  const size = ELEMENT_SIZE[dtype];
  const length = bytes.byteLength / size;
  if (!Number.isInteger(length)) {
    throw new ShapeError(`${bytes.byteLength} bytes are not a whole number of ${dtype} elements.`);
  }
  const { buffer, byteOffset: offset } = bytes.byteOffset % size ? bytes.slice() : bytes;
  switch (dtype) {
    case "float32":
      return new Float32Array(buffer, offset, length);
    case "float16":
      return float16ToFloat32(new Uint16Array(buffer, offset, length));
    case "bfloat16":
      return bfloat16ToFloat32(new Uint16Array(buffer, offset, length));
    case "float64":
      return new Float32Array(new Float64Array(buffer, offset, length));
    case "int64": {
      const words = new Int32Array(buffer, offset, 2 * length);
      const values = new Float32Array(length);
      for (let i = 0; i < length; i++) {
        values[i] = words[2 * i + 1]! * 2 ** 32 + (words[2 * i]! >>> 0);
      }
      return values;
    }
    case "int32":
      return new Float32Array(new Int32Array(buffer, offset, length));
    case "uint32":
      return new Float32Array(new Uint32Array(buffer, offset, length));
    case "int16":
      return new Float32Array(new Int16Array(buffer, offset, length));
    case "int8":
      return new Float32Array(new Int8Array(buffer, offset, length));
    case "uint8":
      return new Float32Array(new Uint8Array(buffer, offset, length));
    case "bool":
      return new Float32Array(bytes.map((byte) => byte ? 1 : 0));
  }
}

/**
 * The values as elements of `dtype`: float16 and bfloat16 rounded to the nearest and ties to even
 * (float16 overflows to infinity, as PyTorch's `.half()` does), integers truncated, `bool` whether
 * they differ from zero. For `float32` this is a view of `values`.
 */
export function fromFloat32(
  values: Float32Array<ArrayBuffer>,
  dtype: HostDtype,
): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = encode(values, dtype);
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function encode(values: Float32Array<ArrayBuffer>, dtype: HostDtype): ArrayBufferView<ArrayBuffer> {
  switch (dtype) {
    case "float32":
      return values;
    case "float16":
      return float32ToFloat16(values);
    case "bfloat16":
      return float32ToBfloat16(values);
    case "float64":
      return new Float64Array(values);
    case "int64": {
      const words = new Uint32Array(2 * values.length);
      for (let i = 0; i < values.length; i++) {
        const whole = Math.trunc(values[i]!);
        words[2 * i] = whole;
        words[2 * i + 1] = Math.floor(whole / 2 ** 32);
      }
      return words;
    }
    case "int32":
      return new Int32Array(values);
    case "uint32":
      return new Uint32Array(values);
    case "int16":
      return new Int16Array(values);
    case "int8":
      return new Int8Array(values);
    case "uint8":
      return new Uint8Array(values);
    case "bool":
      return new Uint8Array(values.map((value) => value === 0 ? 0 : 1));
  }
}

/**
 * A tensor in memory.
 *
 * @example
 * ```ts
 * const bias = hostTensor("proj.bias", [2], new Float32Array([0.5, -1]), "float16");
 * ```
 * @throws {ShapeError} if there are not as many values as the shape has elements.
 */
export function hostTensor(
  name: string,
  shape: readonly number[],
  values: Float32Array<ArrayBuffer>,
  dtype: HostDtype = "float32",
): HostTensor {
  if (elementCount(shape) !== values.length) {
    throw new ShapeError(
      `The tensor ${name} of shape [${shape}] has ${elementCount(shape)} elements, ` +
        `but ${values.length} values were given.`,
    );
  }
  return { name, dtype, shape, read: () => Promise.resolve(fromFloat32(values, dtype)) };
}
