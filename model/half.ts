/** Every float16 as a float32, made at the first use. */
let float16Values: Float32Array<ArrayBuffer> | undefined;

function float16Table(): Float32Array<ArrayBuffer> {
  if (float16Values) return float16Values;
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const magnitude = exponent === 31
      ? (fraction ? NaN : Infinity)
      : exponent === 0
      ? fraction * 2 ** -24
      : (1024 + fraction) * 2 ** (exponent - 25);
    table[bits] = bits & 0x8000 ? -magnitude : magnitude;
  }
  return float16Values = table;
}

/** Widens IEEE 754 binary16 bits to float32; exact. */
export function float16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const table = float16Table();
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = table[bits[i]!]!;
  return values;
}

/** Widens bfloat16 bits to float32; exact. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return new Float32Array(words.buffer);
}

/**
 * Rounds float32 to IEEE 754 binary16, to the nearest and ties to even. From 65520 on it is
 * infinity, as PyTorch's `.half()` has it; NaN stays NaN.
 */
export function float32ToFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = words[i]!;
    const magnitude = word & 0x7fffffff;
    let half: number;
    if (magnitude >= 0x47800000) { // 65536 and above
      half = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
    } else if (magnitude >= 0x38800000) { // normal, 2^-14 and above
      half = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
    } else { // a multiple of 2^-24: adding 1.5·2^52 to it rounds it to a whole number
      half = Math.abs(values[i]!) * 2 ** 24 + 0x18000000000000 - 0x18000000000000;
    }
    bits[i] = (word >>> 16 & 0x8000) | half;
  }
  return bits;
}

/** Rounds float32 to bfloat16, to the nearest and ties to even; NaN becomes 0x7fc0. */
export function float32ToBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = words[i]!;
    bits[i] = (word & 0x7fffffff) > 0x7f800000
      ? 0x7fc0
      : (word + 0x7fff + (word >>> 16 & 1)) >>> 16;
  }
  return bits;
}
