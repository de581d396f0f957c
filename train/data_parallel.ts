/** What the ranks of a run have in common: weights, gradients, and the facts on which they must agree. */

import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { roundUp } from "../kernels/runtime/kernel.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { Communicator } from "./communicator.ts";

/** Elements that are sent at once: 16 MiB, a multiple of what views are aligned to. */
const BUCKET = 2 ** 22;

/** Overwrites tensors on every rank with those of rank 0. */
export async function broadcastTensors(
  gpu: Gpu,
  ranks: Communicator,
  tensors: Iterable<Tensor>,
): Promise<void> {
  if (ranks.size === 1) return;
  using _scope = gpu.scope();
  for (const bucket of [...tensors].flatMap((tensor) => buckets(tensor))) {
    const bytes = ranks.rank === 0
      ? new Uint8Array(await gpu.readBytes(bucket))
      : new Uint8Array(bucket.bytes);
    await ranks.broadcast(bytes);
    if (ranks.rank > 0) gpu.write(bucket, bytes);
  }
}

/** Replaces flat tensors by their mean over the ranks, a bucket being summed while the next is read from the device. */
export async function averageTensors(
  gpu: Gpu,
  ranks: Communicator,
  tensors: readonly Tensor[],
): Promise<void> {
  using _scope = gpu.scope();
  let averaged: Promise<void> | undefined;
  const average = async (bucket: Tensor, values: Float32Array<ArrayBuffer>) => {
    await ranks.sum(values);
    for (let i = 0; i < values.length; i++) values[i]! /= ranks.size;
    gpu.write(bucket, values);
  };
  for (const bucket of tensors.flatMap((tensor) => buckets(tensor))) {
    const [bytes] = await Promise.all([gpu.readBytes(bucket), averaged]);
    averaged = average(bucket, new Float32Array(bytes));
  }
  await averaged;
}

/** The elements of a flat tensor that are one rank's own, a multiple of what views are aligned to but for the last. */
export function shardOf(
  { size }: Tensor,
  ranks: { readonly rank: number; readonly size: number },
): { start: number; count: number; each: number } {
  const each = roundUp(Math.ceil(size / ranks.size), 64);
  const start = Math.min(ranks.rank * each, size);
  return { start, count: Math.min(each, size - start), each };
}

/**
 * Puts a flat tensor together from the shards of all ranks.
 *
 * @param own This rank's shard [count]; nothing where it is empty.
 * @param whole Where all of them go.
 */
export async function gatherShards(
  gpu: Gpu,
  ranks: Communicator,
  own: Tensor | undefined,
  whole: Tensor,
): Promise<void> {
  const { each } = shardOf(whole, ranks);
  const padded = new Float32Array(each);
  if (own) padded.set(await gpu.read(own));
  const all = await ranks.allGather(new Uint8Array(padded.buffer));
  gpu.write(whole, new Float32Array(all.buffer, 0, whole.size));
}

/** What must be the same on all ranks, by name. */
export type Facts = Readonly<Record<string, unknown>>;

/**
 * Compares what must be the same on all ranks.
 *
 * @throws {GlimpseError} on every rank, which names each difference from rank 0.
 */
export async function requireAgreement(ranks: Communicator, facts: Facts): Promise<void> {
  const all = await ranks.gather({ host: ranks.host, facts });
  const [first] = all;
  const text = (value: unknown) => JSON.stringify(value) ?? "not set";
  const differences = all.flatMap(({ host, facts }, rank) =>
    [...new Set([...Object.keys(first!.facts), ...Object.keys(facts)])]
      .filter((name) => text(facts[name]) !== text(first!.facts[name]))
      .map((name) =>
        `${name} is ${text(facts[name])} on rank ${rank} (${host}) and ` +
        `${text(first!.facts[name])} on rank 0 (${first!.host})`
      )
  );
  if (differences.length > 0) {
    throw new GlimpseError(
      `The ranks do not agree: ${differences.join("; ")}. ` +
        `Give all machines the same version of Glimpse, the same files and the same options.`,
    );
  }
}

/** The pieces in which a flat tensor is sent, of `most` elements; they belong to the innermost scope. */
export function buckets(tensor: Tensor, most: number = BUCKET): Tensor[] {
  const count = Math.ceil(tensor.size / most);
  return Array.from(
    { length: count },
    (_, i) => tensor.view([Math.min(most, tensor.size - i * most)], i * most),
  );
}
