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
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!)); // or NaN
  const [largest = 0] = await ranks.max(Float64Array.of(Number.isNaN(most) ? Infinity : most));
  if (largest === 0) return;
  if (largest === Infinity) return void values.fill(NaN);
  const scale = LARGEST * 2 ** -Math.ceil(Math.log2(largest));
  const { size } = ranks;
  const room = 2 ** -Math.ceil(Math.log2(size));
  const share = Math.ceil(values.length / size);
  const sent = new Float16Array(share * size);
  multiply(values, scale);
  sent.set(values); // whole arrays convert fast, single elements of half precision do not
  const received = await ranks.allToAll(new Uint8Array(sent.buffer));
  const sums = new Float32Array(new Float16Array(received.buffer, 0, share));
  for (let from = 1; from < size; from++) {
    const part = new Float32Array(new Float16Array(received.buffer, 2 * from * share, share));
    for (let i = 0; i < share; i++) sums[i]! += part[i]!;
  }
  multiply(sums, room);
  const own = new Float16Array(sums);
  const all = await ranks.allGather(new Uint8Array(own.buffer));
  values.set(new Float16Array(all.buffer, 0, values.length));
  multiply(values, 1 / (scale * room));
}

function multiply(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i]! *= factor;
}
