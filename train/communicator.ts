/** What the processes of a run say to each other. */

/** Numbers that can be added up over ranks. */
export type Summable = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/**
 * The processes of a run, called ranks, and what they do together. All ranks must make the same calls in the same
 * order. A call that fails or lasts too long ends the whole job.
 */
export interface Communicator extends AsyncDisposable {
  /** This process, from 0. */
  readonly rank: number;
  /** Processes. */
  readonly size: number;
  /** This process among those of its machine, from 0. */
  readonly localRank: number;
  /** Processes of its machine. */
  readonly localSize: number;
  /** Name of its machine. */
  readonly host: string;
  /** Adds numbers up over the ranks, in place; every rank gets the same bits. */
  sum<T extends Summable>(values: T): Promise<T>;
  /** The largest of each number over the ranks, in place. */
  max(values: Float64Array<ArrayBuffer>): Promise<Float64Array<ArrayBuffer>>;
  /** Overwrites bytes with those of one rank. */
  broadcast(bytes: Uint8Array<ArrayBuffer>, from?: number): Promise<void>;
  /** Every rank's value, which JSON can hold, by rank. */
  gather<T>(value: T): Promise<T[]>;
  /** Puts every rank's bytes, as many on each, behind each other. */
  allGather(own: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  /** Sends the r-th of equal pieces to rank r; returns the pieces that the ranks sent here, by rank. */
  allToAll(pieces: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
  /** Ends all ranks at once. */
  abort(status: number): never;
}

/** The only process of a run. */
export const ALONE: Communicator = {
  rank: 0,
  size: 1,
  localRank: 0,
  localSize: 1,
  host: "localhost",
  sum: (values) => Promise.resolve(values),
  max: (values) => Promise.resolve(values),
  broadcast: () => Promise.resolve(),
  gather: (value) => Promise.resolve([value]),
  allGather: (own) => Promise.resolve(own),
  allToAll: (pieces) => Promise.resolve(pieces),
  abort: (status) => {
    throw new Error(`A process of its own ends by what it throws, not with ${status}.`);
  },
  [Symbol.asyncDispose]: () => Promise.resolve(),
};
