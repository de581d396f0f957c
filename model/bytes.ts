import { FormatError } from "../kernels/runtime/errors.ts";

/** Random access to bytes that lie somewhere: in memory, in a file, in a Blob. */
export interface ByteSource {
  /** What to call it in an error: usually the path. */
  readonly name: string;
  /** How many bytes it holds. */
  readonly size: number;
  /**
   * Reads `length` bytes from `offset` into a buffer of their own.
   *
   * @throws {FormatError} if the range does not lie within the source.
   */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Refuses a byte range that does not lie within a source of `size` bytes.
 *
 * @throws {FormatError} if it does not.
 */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!whole || offset < 0 || length < 0 || offset + length > size) {
    throw new FormatError(
      `${name} is truncated or corrupt: ${length} bytes were expected at byte ${offset}, ` +
        `but it has ${size} bytes. Fetch or write it again.`,
    );
  }
}

/** Bytes in memory as a source. What it reads are copies. */
export function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    read(offset, length) {
      return Promise.try(() => {
        checkRange(name, bytes.byteLength, offset, length);
        return new Uint8Array(bytes.subarray(offset, offset + length));
      });
    },
  };
}

/** A Blob, such as a file that was dropped on a page, as a source. */
export function blobSource(name: string, blob: Blob): ByteSource {
  return {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(name, blob.size, offset, length);
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
  };
}

/** The same bytes four to a word, the first in the lowest bits. */
export function words(bytes: Uint8Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const aligned = bytes.byteOffset % 4 ? bytes.slice() : bytes;
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}
