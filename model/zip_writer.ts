import { ByteWriter } from "./byte_writer.ts";
import { crc32 } from "./crc32.ts";

/** A file to be put into an archive. */
export interface ZipContent {
  /** Its name, with the folders. */
  readonly name: string;
  /** Its bytes. */
  read(): Promise<Uint8Array<ArrayBuffer>>;
}

/** What a 32-bit field holds when its value stands in the zip64 field. */
const WIDE = 0xffffffff;

interface Written {
  readonly name: string;
  readonly size: number;
  readonly crc: number;
  readonly offset: number;
}

/**
 * Writes a zip archive piece by piece. Its files are stored as they are, and their contents begin
 * at multiples of `alignment` bytes, so that they can be mapped into memory. Equal contents give
 * equal archives: no times are noted.
 *
 * @param contents One after the other; only one is in memory at a time.
 */
export async function* zipChunks(
  contents: Iterable<ZipContent>,
  alignment = 64,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const written: Written[] = [];
  let position = 0;
  for (const content of contents) {
    const bytes = await content.read();
    const { name } = content;
    const file = { name, size: bytes.length, crc: crc32(bytes), offset: position };
    const header = localHeader(file, alignment);
    yield header;
    if (bytes.length) yield bytes;
    written.push(file);
    position += header.length + bytes.length;
  }
  yield directory(written, position);
}

function localHeader(file: Written, alignment: number): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(file.name);
  const extra = wideField(file.size >= WIDE ? [file.size, file.size] : []);
  const length = 30 + name.length + extra.length + 4;
  const padding = (alignment - (file.offset + length) % alignment) % alignment;
  const header = new ByteWriter();
  header.uint32(0x04034b50);
  common(header, file, name.length, extra.length + 4 + padding);
  header.raw(name);
  header.raw(extra);
  header.uint16(0x4246); // "FB": padding, as PyTorch marks it
  header.uint16(padding);
  header.raw(new Uint8Array(padding));
  return header.bytes();
}

/** The fields that a file's own header and its directory entry share. */
function common(to: ByteWriter, file: Written, nameLength: number, extraLength: number): void {
  to.uint16(file.size >= WIDE || file.offset >= WIDE ? 45 : 20); // version needed to read it
  to.uint16(0x0800); // the name is UTF-8
  to.uint16(0); // stored
  to.uint32(0x00210000); // 1980-01-01, the first day that zip knows
  to.uint32(file.crc);
  to.uint32(Math.min(file.size, WIDE));
  to.uint32(Math.min(file.size, WIDE));
  to.uint16(nameLength);
  to.uint16(extraLength);
}

/** The zip64 field of those sizes and offsets that do not fit into 32 bits. */
function wideField(values: readonly number[]): Uint8Array<ArrayBuffer> {
  const field = new ByteWriter();
  if (values.length) {
    field.uint16(1);
    field.uint16(8 * values.length);
    for (const value of values) field.uint64(value);
  }
  return field.bytes();
}

function directory(files: readonly Written[], start: number): Uint8Array<ArrayBuffer> {
  const to = new ByteWriter();
  for (const file of files) {
    const name = new TextEncoder().encode(file.name);
    const extra = wideField([
      ...file.size >= WIDE ? [file.size, file.size] : [],
      ...file.offset >= WIDE ? [file.offset] : [],
    ]);
    to.uint32(0x02014b50);
    to.uint16(45); // version that wrote it
    common(to, file, name.length, extra.length);
    to.raw(new Uint8Array(10)); // no comment, first disk, no attributes
    to.uint32(Math.min(file.offset, WIDE));
    to.raw(name);
    to.raw(extra);
  }
  const length = to.length;
  to.uint32(0x06064b50);
  to.uint64(44);
  to.uint16(45);
  to.uint16(45);
  to.uint64(0); // disks
  to.uint64(files.length);
  to.uint64(files.length);
  to.uint64(length);
  to.uint64(start);
  to.uint32(0x07064b50);
  to.uint32(0);
  to.uint64(start + length);
  to.uint32(1);
  to.uint32(0x06054b50);
  to.uint32(0); // disks
  to.uint16(Math.min(files.length, 0xffff));
  to.uint16(Math.min(files.length, 0xffff));
  to.uint32(Math.min(length, WIDE));
  to.uint32(Math.min(start, WIDE));
  to.uint16(0);
  return to.bytes();
}
