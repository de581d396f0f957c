import type { Communicator } from "./communicator.ts";

/** Parts are scaled to at most this, a quarter of what half precision holds. */
const LARGEST = 2 ** 14;

/**
 * Adds numbers up over the ranks, in place, sending them in half precision. Each is scaled by a power of two that fits
 * all of them, and the parts are added in float32. Every rank gets the same bits.
 *
 * Where one of them is not finite, all become NaN.
 */
export async function sumInHalf(
  ranks: Communicator,
  values: Float32Array<ArrayBuffer>,
): Promise<void> {
  let own = 0;
  for (const value of values) own = Math.max(own, Math.abs(value)); // NaN stays NaN
  const [largest = 0] = await ranks.max(Float64Array.of(Number.isNaN(own) ? Infinity : own));
  if (largest === 0) return;
  if (largest === Infinity) return void values.fill(NaN);
  const scale = LARGEST * 2 ** -Math.ceil(Math.log2(largest));
  const { size } = ranks;
  const room = 2 ** -Math.ceil(Math.log2(size));
  const share = Math.ceil(values.length / size);
  const sent = new Float16Array(share * size);
  values.forEach((value, i) => sent[i] = value * scale);
  const parts = new Float16Array((await ranks.allToAll(new Uint8Array(sent.buffer))).buffer);
  const sums = new Float16Array(share);
  for (let i = 0; i < share; i++) {
    let sum = 0;
    for (let from = 0; from < size; from++) sum += parts[from * share + i]!;
    sums[i] = sum * room;
  }
  const all = new Float16Array((await ranks.allGather(new Uint8Array(sums.buffer))).buffer);
  for (let i = 0; i < values.length; i++) values[i] = all[i]! / (scale * room);
}
