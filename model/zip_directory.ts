/** The list of files at the end of a zip archive, zip64 included, read from bytes. */

import { FormatError } from "../kernels/runtime/errors.ts";

/** The longest list of files that is read, in bytes. */
const MAX_DIRECTORY_LENGTH = 2 ** 30;

/** As many bytes at an archive's end as may be needed to find its list of files. */
export const ZIP_TAIL: number = 22 + 65535 + 20 + 56;

/** Bytes that stand before a file's name and contents. */
export const LOCAL_HEADER: number = 30;

/** Where an archive's list of files is. */
export interface ZipDirectory {
  /** How many files there are. */
  readonly count: number;
  /** Its length in bytes. */
  readonly length: number;
  /** Where it begins. */
  readonly start: number;
}

/** What the list says of a file. */
export interface ZipRecord {
  /** Its name, with the folders. */
  readonly name: string;
  /** Whether it is encrypted. */
  readonly encrypted: boolean;
  /** How it is compressed: 0 not at all, 8 by deflate. */
  readonly method: number;
  /** The CRC-32 of its contents. */
  readonly crc: number;
  /** Bytes that it takes in the archive. */
  readonly stored: number;
  /** Bytes that it has. */
  readonly size: number;
  /** Where its local header begins. */
  readonly offset: number;
  /** Whether it is a link or a device instead of a file, by the Unix mode. */
  readonly special: boolean;
  /** Where the next record begins in the list. */
  readonly next: number;
}

/** An error about an archive that is not whole. */
export function corruptZip(archive: string, why: string): FormatError {
  return new FormatError(`${archive} is not a whole zip archive: ${why}.`);
}

/**
 * Finds the list of files.
 *
 * @param archive What to call the archive in errors.
 * @param size The archive's length in bytes.
 * @param bytes Its last bytes, {@linkcode ZIP_TAIL} or all of them.
 * @throws {FormatError} if the list is missing or cannot be.
 */
export function findDirectory(
  archive: string,
  size: number,
  bytes: Uint8Array,
): ZipDirectory {
  const tail = view(bytes);
  const fits = (at: number) => at + 22 + tail.getUint16(at + 20, true) === bytes.length;
  let at = bytes.length - 22;
  while (at >= 0 && !(tail.getUint32(at, true) === 0x06054b50 && fits(at))) at--;
  if (at < 0) {
    throw corruptZip(archive, "the end of its directory is missing, so it is truncated or none");
  }
  let found: ZipDirectory = {
    count: tail.getUint16(at + 10, true),
    length: tail.getUint32(at + 12, true),
    start: tail.getUint32(at + 16, true),
  };
  const locator = at - 20;
  if (locator >= 0 && tail.getUint32(locator, true) === 0x07064b50) {
    const record = uint64(tail, locator + 8) - (size - bytes.length);
    if (
      !(record >= 0 && record + 56 <= bytes.length) || tail.getUint32(record, true) !== 0x06064b50
    ) {
      throw corruptZip(archive, "its zip64 record is broken");
    }
    found = {
      count: uint64(tail, record + 32),
      length: uint64(tail, record + 40),
      start: uint64(tail, record + 48),
    };
  }
  const { count, length, start } = found;
  if (length > MAX_DIRECTORY_LENGTH || count * 46 > length || start + length > size) {
    throw corruptZip(archive, `its directory of ${count} files would have ${length} bytes`);
  }
  return found;
}

/**
 * Reads a record of the list.
 *
 * @param bytes The whole list.
 * @param at Where the record begins in it.
 * @param start Where the list begins in the archive.
 * @throws {FormatError} if it is cut off, or its file does not fit into the archive.
 */
export function readRecord(
  archive: string,
  bytes: Uint8Array,
  at: number,
  start: number,
): ZipRecord {
  const data = view(bytes);
  if (at + 46 > bytes.length || data.getUint32(at, true) !== 0x02014b50) {
    throw corruptZip(archive, "an entry of its directory is broken");
  }
  const extra = at + 46 + data.getUint16(at + 28, true);
  const extraEnd = extra + data.getUint16(at + 30, true);
  const next = extraEnd + data.getUint16(at + 32, true);
  if (next > bytes.length) throw corruptZip(archive, "an entry of its directory is cut off");
  const name = new TextDecoder().decode(bytes.slice(at + 46, extra));
  let stored = data.getUint32(at + 20, true);
  let size = data.getUint32(at + 24, true);
  let offset = data.getUint32(at + 42, true);
  for (let field = extra; field + 4 <= extraEnd;) {
    const end = field + 4 + data.getUint16(field + 2, true);
    if (end > extraEnd) throw corruptZip(archive, `${name} has a broken extra field`);
    if (data.getUint16(field, true) === 1) {
      let value = field + 4;
      const wide = (narrow: number) => {
        if (narrow !== 0xffffffff) return narrow;
        if (value + 8 > end) throw corruptZip(archive, `${name} has a broken zip64 field`);
        value += 8;
        return uint64(data, value - 8);
      };
      size = wide(size);
      stored = wide(stored);
      offset = wide(offset);
    }
    field = end;
  }
  if (offset + LOCAL_HEADER + stored > start) {
    throw corruptZip(
      archive,
      `${name} with ${stored} bytes at byte ${offset} does not fit into it`,
    );
  }
  const isUnix = data.getUint8(at + 5) === 3;
  const kind = isUnix ? data.getUint16(at + 40, true) & 0xf000 : 0;
  return {
    name,
    encrypted: (data.getUint16(at + 8, true) & 1) === 1,
    method: data.getUint16(at + 10, true),
    crc: data.getUint32(at + 16, true),
    stored,
    size,
    offset,
    special: kind !== 0 && kind !== 0x8000 && kind !== 0x4000,
    next,
  };
}

/**
 * Where a file's contents begin.
 *
 * @param header Its local header, {@linkcode LOCAL_HEADER} bytes.
 * @param start Where the list of files begins.
 * @throws {FormatError} if the header is not one.
 */
export function contentStart(
  archive: string,
  { name, offset, stored }: ZipRecord,
  header: Uint8Array,
  start: number,
): number {
  const local = view(header);
  const content = offset + LOCAL_HEADER + local.getUint16(26, true) + local.getUint16(28, true);
  if (local.getUint32(0, true) !== 0x04034b50 || content + stored > start) {
    throw corruptZip(archive, `the header of ${name} is broken`);
  }
  return content;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A 64-bit number; beyond 2⁵³ it is inexact, and then larger than any file. */
function uint64(data: DataView, at: number): number {
  return Number(data.getBigUint64(at, true));
}
