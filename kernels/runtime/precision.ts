import { ShapeError } from "./errors.ts";
import type { Dtype, Tensor } from "./tensor.ts";

/**
 * To what the operands of matrix products are rounded. Products by tiles leave those in float32 as they are. Sums are float32,
 * but for what `Tiling.float16Sums` says.
 */
export type Precision = "float32" | "float16" | "bfloat16";

/** Kinds of numbers that take two bytes. Kernels read them two in a u32. */
export type HalfDtype = Exclude<Precision, "float32">;

/** Whether a tensor's elements take two bytes. */
export function isHalf(dtype: Dtype): dtype is HalfDtype {
  return dtype === "float16" || dtype === "bfloat16";
}

/** What of a tensor a matrix product reads: its copy in half precision where it has one. */
export function operandOf(tensor: Tensor): Tensor {
  return tensor.half ?? tensor;
}

/**
 * The precision of a product: that of the operand which is kept in half precision, or else float32.
 *
 * @throws {ShapeError} when two of them are kept in different ones.
 */
export function precisionOf(...operands: readonly Tensor[]): Precision {
  const halves = new Set(operands.map((x) => operandOf(x).dtype).filter(isHalf));
  if (halves.size > 1) {
    throw new ShapeError(`A product cannot mix operands of ${[...halves].join(" and ")}.`);
  }
  return [...halves][0] ?? "float32";
}

/** How a kernel reads a buffer of numbers, `size` at a time. */
export interface Reader {
  /** Functions that reading needs, beside `HALF`. */
  readonly code: string;
  /** WGSL type of the buffer's elements: four numbers, or one; words where half precision has two of them, or q8 four. */
  type(size: 1 | 4): string;
  /** WGSL for what stands at an index that counts in `size`. */
  read(size: 1 | 4, at: string): string;
}

/** How a kernel reads a buffer of some kind, float32 being rounded on the way. Where either is half it needs `HALF`. */
export function reader(buffer: string, dtype: Dtype, precision: Precision): Reader {
  if (dtype === "q8") {
    return {
      code: `
fn ${buffer}_q8(at: u32) -> vec4f {
  let block = at / 8u * 9u;
  let bytes = vec4u(${buffer}[block + 1u + at % 8u]) << vec4u(24u, 16u, 8u, 0u);
  return vec4f(vec4i(bytes) >> vec4u(24u)) * bitcast<f32>(${buffer}[block]);
}
`,
      type: () => "u32",
      read: (size, at) =>
        size === 4 ? `${buffer}_q8(${at})` : `${buffer}_q8((${at}) / 4u)[(${at}) & 3u]`,
    };
  }
  if (isHalf(dtype)) {
    return {
      code: "",
      type: (size) => size === 4 ? "vec2u" : "u32",
      read: (size, at) =>
        size === 4
          ? `unpack4_${dtype}(${buffer}[${at}])`
          : `unpack2_${dtype}(${buffer}[(${at}) / 2u])[(${at}) & 1u]`,
    };
  }
  return {
    code: "",
    type: (size) => size === 4 ? "vec4f" : "f32",
    read: (size, at) => {
      const value = `${buffer}[${at}]`;
      return isHalf(precision) ? `round${size}_${precision}(${value})` : value;
    },
  };
}

/**
 * WGSL functions that unpack numbers and round them to the nearest, ties to even. They round as integers, since compilers
 * leave out a conversion to f16 and back. Adding ½ to a float16 that is subnormal makes its multiple of 2⁻²⁴ the last bits.
 */
export const HALF: Readonly<Record<Precision, string>> = {
  float32: "",
  float16: `
fn unpack2_float16(w: u32) -> vec2f { return unpack2x16float(w); }
fn unpack4_float16(w: vec2u) -> vec4f { return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }
fn round4_float16(v: vec4f) -> vec4f {
  let bits = bitcast<vec4u>(v);
  let magnitude = bits & vec4u(0x7fffffffu);
  let normal = (magnitude + 0xfffu + ((magnitude >> vec4u(13u)) & vec4u(1u))) & vec4u(0xffffe000u);
  let steps = bitcast<vec4u>(bitcast<vec4f>(magnitude) + 0.5) - 0x3f000000u;
  let subnormal = bitcast<vec4u>(vec4f(steps) * 5.9604644775390625e-8);
  let large = max(magnitude, vec4u(0x7f800000u));
  var rounded = select(normal, subnormal, magnitude < vec4u(0x38800000u));
  rounded = select(rounded, large, magnitude >= vec4u(0x477ff000u));
  return bitcast<vec4f>(rounded | (bits & vec4u(0x80000000u)));
}
fn round1_float16(v: f32) -> f32 { return round4_float16(vec4f(v)).x; }
`,
  bfloat16: `
fn unpack2_bfloat16(w: u32) -> vec2f { return bitcast<vec2f>(vec2u(w << 16u, w & 0xffff0000u)); }
fn unpack4_bfloat16(w: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));
}
fn round4_bfloat16(v: vec4f) -> vec4f {
  let bits = bitcast<vec4u>(v);
  let rounded = (bits + 0x7fffu + ((bits >> vec4u(16u)) & vec4u(1u))) & vec4u(0xffff0000u);
  let isNumber = (bits & vec4u(0x7fffffffu)) <= vec4u(0x7f800000u);
  return bitcast<vec4f>(select(vec4u(0x7fc00000u), rounded, isNumber));
}
fn round1_bfloat16(v: f32) -> f32 { return round4_bfloat16(vec4f(v)).x; }
`,
};
