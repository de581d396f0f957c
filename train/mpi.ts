import { GlimpseError } from "../kernels/runtime/errors.ts";
import { ALONE, type Communicator, type Summable } from "./communicator.ts";
import { loadOpenMpi, type OpenMpi } from "./open_mpi.ts";

/** Variables that tell a process that an MPI launcher started it: Open MPI's own, Slurm's and others'. */
const LAUNCHED = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE"];

/** The level of MPI at which calls come from several threads, one at a time. */
const SERIALIZED = 2;
/** The kind of split that keeps the processes of one machine together. */
const SHARED = 0;

/** Whether an MPI launcher started this process. Variables that may not be read count as not set. */
export function startedByMpi(): boolean {
  return LAUNCHED.some((variable) =>
    Deno.permissions.querySync({ name: "env", variable }).state === "granted" &&
    Deno.env.has(variable)
  );
}

/**
 * The communicator of this process: over MPI where a launcher started it, else of itself alone, and then nothing is
 * loaded.
 *
 * @param timeout Seconds after which a call that waits for other ranks ends the job.
 * @throws {UsageError} where Open MPI cannot be loaded.
 */
export function openCommunicator(timeout: number): Communicator {
  return startedByMpi() ? new MpiCommunicator(loadOpenMpi(), timeout) : ALONE;
}

/** The ranks of `MPI_COMM_WORLD`. */
class MpiCommunicator implements Communicator {
  readonly rank: number;
  readonly size: number;
  readonly localRank: number;
  readonly localSize: number;
  readonly host: string;
  readonly #mpi: OpenMpi;
  readonly #timeout: number;
  readonly #world: Deno.PointerValue;
  readonly #types: { readonly float: Deno.PointerValue; readonly double: Deno.PointerValue };
  readonly #byte: Deno.PointerValue;
  readonly #sum: Deno.PointerValue;
  readonly #max: Deno.PointerValue;
  readonly #inPlace = Deno.UnsafePointer.create(1n);
  #last: Promise<unknown> = Promise.resolve();
  /** Holds the buffers of the call in progress, which the library writes to. */
  #running: unknown;

  constructor(mpi: OpenMpi, timeout: number) {
    this.#mpi = mpi;
    this.#timeout = timeout;
    const { call, handle } = mpi;
    const provided = integer((out) => call.MPI_Init_thread(null, null, SERIALIZED, out));
    if (provided < SERIALIZED) {
      throw new GlimpseError("This Open MPI was built without threads; install one with them.");
    }
    this.#world = handle("ompi_mpi_comm_world");
    this.#types = { float: handle("ompi_mpi_float"), double: handle("ompi_mpi_double") };
    this.#byte = handle("ompi_mpi_byte");
    this.#sum = handle("ompi_mpi_op_sum");
    this.#max = handle("ompi_mpi_op_max");
    this.rank = integer((out) => call.MPI_Comm_rank(this.#world, out));
    this.size = integer((out) => call.MPI_Comm_size(this.#world, out));
    const machine = new BigUint64Array(1);
    call.MPI_Comm_split_type(
      this.#world,
      SHARED,
      this.rank,
      handle("ompi_mpi_info_null"),
      new Uint8Array(machine.buffer),
    );
    const local = Deno.UnsafePointer.create(machine[0]!);
    this.localRank = integer((out) => call.MPI_Comm_rank(local, out));
    this.localSize = integer((out) => call.MPI_Comm_size(local, out));
    const name = new Uint8Array(256);
    const length = integer((out) => call.MPI_Get_processor_name(name, out));
    this.host = new TextDecoder().decode(name.subarray(0, length));
  }

  sum<T extends Summable>(values: T): Promise<T> {
    return this.#reduce(values, this.#sum);
  }

  max(values: Float64Array<ArrayBuffer>): Promise<Float64Array<ArrayBuffer>> {
    return this.#reduce(values, this.#max);
  }

  async #reduce<T extends Summable>(values: T, operation: Deno.PointerValue): Promise<T> {
    const { float, double } = this.#types;
    const type = values instanceof Float32Array ? float : double;
    const bytes = bytesOf(values);
    await this.#collective(
      "MPI_Allreduce",
      (mpi) => mpi.MPI_Allreduce(this.#inPlace, bytes, values.length, type, operation, this.#world),
    );
    return values;
  }

  async broadcast(bytes: Uint8Array<ArrayBuffer>, from = 0): Promise<void> {
    await this.#collective(
      "MPI_Bcast",
      (mpi) => mpi.MPI_Bcast(bytes, bytes.length, this.#byte, from, this.#world),
    );
  }

  async gather<T>(value: T): Promise<T[]> {
    const own = new TextEncoder().encode(JSON.stringify(value));
    const [longest] = await this.max(Float64Array.of(own.length));
    const padded = new Uint8Array(longest!).fill(0x20);
    padded.set(own);
    const all = await this.allGather(padded);
    return Array.from(
      { length: this.size },
      (_, r) =>
        JSON.parse(new TextDecoder().decode(all.subarray(r * longest!, (r + 1) * longest!))),
    );
  }

  async allGather(own: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const all = new Uint8Array(own.length * this.size);
    const byte = this.#byte;
    await this.#collective(
      "MPI_Allgather",
      (mpi) => mpi.MPI_Allgather(own, own.length, byte, all, own.length, byte, this.#world),
    );
    return all;
  }

  async allToAll(pieces: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const received = new Uint8Array(pieces.length);
    const [byte, length] = [this.#byte, pieces.length / this.size];
    await this.#collective(
      "MPI_Alltoall",
      (mpi) => mpi.MPI_Alltoall(pieces, length, byte, received, length, byte, this.#world),
    );
    return received;
  }

  abort(status: number): never {
    this.#mpi.call.MPI_Abort(this.#world, status);
    Deno.exit(status);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#collective("MPI_Barrier", (mpi) => mpi.MPI_Barrier(this.#world));
    this.#mpi.call.MPI_Finalize();
  }

  /** Makes a call after the ones before it; the library takes one at a time. */
  async #collective(
    name: string,
    start: (mpi: OpenMpi["call"]) => Promise<number>,
  ): Promise<void> {
    const call = this.#last.then(() => this.#inTime(name, () => start(this.#mpi.call)));
    this.#last = call;
    const code = await call;
    if (code !== 0) throw new GlimpseError(`${name} failed on rank ${this.rank}: code ${code}.`);
  }

  async #inTime(name: string, start: () => Promise<number>): Promise<number> {
    const timer = setTimeout(() => {
      console.error(
        `error: rank ${this.rank} on ${this.host} has waited ${this.#timeout} s for the other ranks in ${name}; ` +
          `one of them hangs or is too slow. --timeout sets how long to wait.`,
      );
      this.abort(1);
    }, this.#timeout * 1000);
    this.#running = start;
    try {
      return await start();
    } finally {
      this.#running = undefined;
      clearTimeout(timer);
    }
  }
}

/** The integer that a function writes. */
function integer(write: (out: Uint8Array<ArrayBuffer>) => number): number {
  const value = new Int32Array(1);
  const code = write(bytesOf(value));
  if (code !== 0) throw new GlimpseError(`Open MPI failed at its start: code ${code}.`);
  return value[0]!;
}

function bytesOf(
  { buffer, byteOffset, byteLength }: Summable | Int32Array<ArrayBuffer>,
): Uint8Array<
  ArrayBuffer
> {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
