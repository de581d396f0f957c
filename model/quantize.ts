/** How weights may be kept in fewer bits than half precision: `q8` is a byte each, see `Dtype`. */
export type Quantization = "q8";

/** Numbers that share a scale. */
export const BLOCK = 32;

/** Words of a block: its scale and its bytes. */
const WORDS = 1 + BLOCK / 4;

/**
 * Rounds numbers to 8 bits: in each block of 32 to the nearest of 255 multiples of a scale, so that the largest magnitude
 * is kept. This is the form known as Q8_0, with a scale in float32.
 *
 * @param values A multiple of 32 numbers.
 * @returns For each block its scale, then its bytes.
 */
export function quantize(values: Float32Array): Uint32Array<ArrayBuffer> {
  const blocks = values.length / BLOCK;
  const words = new Uint32Array(blocks * WORDS);
  const scales = new Float32Array(words.buffer);
  const bytes = new Int8Array(words.buffer);
  for (let block = 0; block < blocks; block++) {
    const first = block * BLOCK, at = block * WORDS;
    let most = 0;
    for (let i = first; i < first + BLOCK; i++) most = Math.max(most, Math.abs(values[i]!));
    const scale = scales[at] = most / 127;
    const inverse = scale > 0 ? 1 / scale : 0;
    for (let i = 0; i < BLOCK; i++) {
      bytes[4 * at + 4 + i] = Math.round(values[first + i]! * inverse);
    }
  }
  return words;
}

/** The numbers that blocks of 8 bits stand for. */
export function dequantize(words: Uint32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const scales = new Float32Array(words.buffer, words.byteOffset, words.length);
  const bytes = new Int8Array(words.buffer, words.byteOffset, 4 * words.length);
  const values = new Float32Array(words.length / WORDS * BLOCK);
  for (let i = 0; i < values.length; i++) {
    const at = Math.floor(i / BLOCK) * WORDS;
    values[i] = scales[at]! * bytes[4 * at + 4 + i % BLOCK]!;
  }
  return values;
}
