import { ALONE, type Communicator } from "../../train/communicator.ts";

/** Runs ranks that talk through memory. */
export async function together(
  size: number,
  body: (ranks: Communicator) => Promise<void>,
): Promise<void> {
  let [given, waiting]: [unknown[], (() => void)[]] = [[], []];
  /** What every rank gives, once all have given something. */
  const share = async <T>(rank: number, value: T): Promise<T[]> => {
    const all = given as T[];
    all[rank] = value;
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (waiting.length < size) return;
      const ready = waiting;
      [given, waiting] = [[], []];
      ready.forEach((go) => go());
    });
    return all;
  };
  const join = (parts: Uint8Array[]) => new Uint8Array(parts.flatMap((part) => [...part]));
  const ranks = Array.from({ length: size }, (_, rank): Communicator => ({
    ...ALONE,
    rank,
    size,
    max: async (values) => {
      const all = await share(rank, values.slice());
      return values.map((_, i) => Math.max(...all.map((other) => other[i]!)));
    },
    localSize: size,
    sum: async (values) => {
      const all = await share(rank, values.slice());
      for (let i = 0; i < values.length; i++) {
        values[i] = all.reduce((sum, other) => sum + other[i]!, 0);
      }
      return values;
    },
    allGather: async (own) => join(await share(rank, own)),
    allToAll: async (pieces) => {
      const length = pieces.length / size;
      const all = await share(rank, pieces);
      return join(all.map((other) => other.slice(rank * length, (rank + 1) * length)));
    },
  }));
  await Promise.all(ranks.map(body));
}
