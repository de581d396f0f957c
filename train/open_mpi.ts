/** Open MPI's library, as far as it is called. */

import { UsageError } from "../kernels/runtime/errors.ts";

const FUNCTIONS = {
  MPI_Init_thread: { parameters: ["pointer", "pointer", "i32", "buffer"], result: "i32" },
  MPI_Comm_rank: { parameters: ["pointer", "buffer"], result: "i32" },
  MPI_Comm_size: { parameters: ["pointer", "buffer"], result: "i32" },
  MPI_Comm_split_type: {
    parameters: ["pointer", "i32", "i32", "pointer", "buffer"],
    result: "i32",
  },
  MPI_Get_processor_name: { parameters: ["buffer", "buffer"], result: "i32" },
  MPI_Allreduce: {
    parameters: ["pointer", "buffer", "i32", "pointer", "pointer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
  MPI_Bcast: {
    parameters: ["buffer", "i32", "pointer", "i32", "pointer"],
    result: "i32",
    nonblocking: true,
  },
  MPI_Allgather: {
    parameters: ["buffer", "i32", "pointer", "buffer", "i32", "pointer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
  MPI_Alltoall: {
    parameters: ["buffer", "i32", "pointer", "buffer", "i32", "pointer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
  MPI_Barrier: { parameters: ["pointer"], result: "i32", nonblocking: true },
  MPI_Abort: { parameters: ["pointer", "i32"], result: "i32" },
  MPI_Finalize: { parameters: [], result: "i32" },
} as const;

const LOADER = {
  dlopen: { parameters: ["buffer", "i32"], result: "pointer" },
  dlsym: { parameters: ["pointer", "buffer"], result: "pointer" },
} as const;

/** The library's file name. */
const FILE = Deno.build.os === "darwin" ? "libmpi.40.dylib" : "libmpi.so.40";

/** The library's functions and what its names stand for. */
export interface OpenMpi {
  /** The functions by their names in the standard. */
  readonly call: Deno.DynamicLibrary<typeof FUNCTIONS>["symbols"];
  /** The handle of a name, such as `ompi_mpi_comm_world`: its address in the library. */
  handle(name: string): Deno.PointerValue;
}

/**
 * Loads Open MPI 4 or 5.
 *
 * @throws {UsageError} where it may not or cannot be loaded.
 */
export function loadOpenMpi(): OpenMpi {
  const mac = Deno.build.os === "darwin";
  const wrong = (why: string) =>
    new UsageError(
      `This process was started by an MPI launcher, but Open MPI's library ${FILE} cannot be used: ${why}. ` +
        `Install Open MPI (./setup.sh --with mpi), or start the command by itself.`,
    );
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    throw wrong("it needs --allow-ffi");
  }
  const { dlopen, dlsym } = openLoader(mac);
  // its plug-ins look for its symbols among the global ones
  const library = dlopen(text(FILE), 0x2 | (mac ? 0x8 : 0x100));
  if (library === null) throw wrong("it is not there");
  const { symbols } = Deno.dlopen(FILE, FUNCTIONS);
  return {
    call: symbols,
    handle: (name) => {
      const address = dlsym(library, text(name));
      if (address === null) throw wrong(`it has no ${name}`);
      return address;
    },
  };
}

/** The version of the library that is installed, for example `4.1.4`; nothing where there is none. */
export function openMpiVersion(): string | undefined {
  try {
    const { symbols } = Deno.dlopen(FILE, {
      MPI_Get_library_version: { parameters: ["buffer", "buffer"], result: "i32" },
    });
    const name = new Uint8Array(8192);
    const length = new Int32Array(1);
    symbols.MPI_Get_library_version(name, new Uint8Array(length.buffer));
    return /v(\d[^,\s]*)/.exec(new TextDecoder().decode(name.subarray(0, length[0])))?.[1];
  } catch {
    return undefined;
  }
}

/** The functions that load libraries; old systems have them in a file of their own. */
function openLoader(mac: boolean): Deno.DynamicLibrary<typeof LOADER>["symbols"] {
  try {
    return Deno.dlopen(mac ? "libSystem.dylib" : "libc.so.6", LOADER).symbols;
  } catch {
    return Deno.dlopen("libdl.so.2", LOADER).symbols;
  }
}

/** A text as C has it. */
function text(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${value}\0`);
}
