import type { Communicator } from "../train/communicator.ts";
import { describeError } from "./program.ts";

/** Does what all ranks do together and lets go of them. An error of one ends them all, since they wait for it. */
export async function onRanks<T>(ranks: Communicator, work: () => Promise<T>): Promise<T> {
  try {
    const result = await work();
    await ranks[Symbol.asyncDispose]();
    return result;
  } catch (error) {
    if (ranks.size === 1) throw error;
    console.error(`rank ${ranks.rank} on ${ranks.host}: ${describeError(error).text}`);
    return ranks.abort(1);
  }
}
