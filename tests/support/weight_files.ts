import { assert, assertEquals } from "@std/assert";
import { FormatError } from "../../kernels/runtime/errors.ts";
import { type HostDtype, type HostTensor, hostTensor } from "../../model/host_tensor.ts";
import type { WeightFile } from "../../model/weight_file.ts";

/** All kinds of number that a file may hold. */
export const DTYPES: HostDtype[] = [
  "float64",
  "float32",
  "float16",
  "bfloat16",
  "int64",
  "int32",
  "int16",
  "int8",
  "uint8",
  "uint32",
  "bool",
];

/** A tensor of every kind, a scalar, and an empty one. */
export function everyKind(): HostTensor[] {
  const values = new Float32Array([0, 1, 2, 0.5, 100, 127]);
  return [
    ...DTYPES.map((dtype) => hostTensor(`kind.${dtype}`, [2, 3], values, dtype)),
    hostTensor("scalar", [], new Float32Array([-0.25])),
    hostTensor("empty", [0, 3], new Float32Array(0), "float16"),
  ];
}

/** All pieces in one. */
export async function collect(
  chunks: AsyncIterable<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: BlobPart[] = [];
  for await (const chunk of chunks) parts.push(new Uint8Array(chunk));
  return await new Blob(parts).bytes();
}

/** Asserts that a file holds these tensors, to the last bit. */
export async function assertTensors(file: WeightFile, expected: HostTensor[]): Promise<void> {
  assertEquals([...file.tensors.keys()].sort(), expected.map(({ name }) => name).sort());
  for (const tensor of expected) {
    const found = file.tensors.get(tensor.name)!;
    assertEquals([found.name, found.dtype, found.shape], [tensor.name, tensor.dtype, tensor.shape]);
    assertEquals(await found.read(), await tensor.read(), tensor.name);
  }
}

/**
 * Cuts a file off at every length and changes every byte, and asserts that whatever is broken is
 * refused with a FormatError and nothing else happens.
 *
 * @param use Opens the file and reads all of it.
 * @returns how many changed files were refused.
 */
export async function breakEverywhere(
  file: Uint8Array,
  use: (bytes: Uint8Array) => Promise<unknown>,
): Promise<number> {
  let refused = 0;
  const isRefused = async (bytes: Uint8Array, how: string): Promise<boolean> => {
    try {
      await use(bytes);
      return false;
    } catch (error) {
      assert(error instanceof FormatError, `${how}: ${error}`);
      return true;
    }
  };
  for (let length = 0; length < file.length; length++) {
    assert(
      await isRefused(file.subarray(0, length), `cut at ${length}`),
      `cut at ${length} passes`,
    );
  }
  for (let at = 0; at < file.length; at++) {
    for (const change of [0x01, 0xff]) {
      const bytes = file.slice();
      bytes[at]! ^= change;
      if (await isRefused(bytes, `byte ${at} ^ ${change}`)) refused++;
    }
  }
  return refused;
}

/** Reads every tensor of a file. */
export async function readAll(file: WeightFile): Promise<void> {
  for (const tensor of file.tensors.values()) await tensor.read();
}
