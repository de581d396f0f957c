/** Reads TensorBoard's event files from the format's description alone. */

import { assertEquals } from "@std/assert";

/** Fields of a message by number; each was given as often as its list is long. */
export type Fields = Map<number, (bigint | Uint8Array)[]>;

/** One event. */
export interface Event {
  readonly wallTime: number;
  readonly step: number;
  readonly fields: Fields;
}

/** CRC-32C bit by bit. */
export function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const low = (crc ^ (byte >> bit)) & 1;
      crc = (crc >>> 1) ^ (low ? 0x82f63b78 : 0);
    }
  }
  return ~crc >>> 0;
}

const mask = (crc: number) =>
  Number((BigInt((crc >>> 15) | (crc << 17)) + 0xa282ead8n) & 0xffffffffn);

/** The records of a file, up to a last one that is not whole; checksums are checked. */
export function readRecords(file: Uint8Array): Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const records: Uint8Array[] = [];
  for (let at = 0; at + 12 <= file.length;) {
    const length = Number(view.getBigUint64(at, true));
    assertEquals(view.getUint32(at + 8, true), mask(slowCrc32c(file.subarray(at, at + 8))));
    if (at + 16 + length > file.length) break;
    const data = file.subarray(at + 12, at + 12 + length);
    assertEquals(view.getUint32(at + 12 + length, true), mask(slowCrc32c(data)));
    records.push(data);
    at += 16 + length;
  }
  return records;
}

/** Splits a protocol buffer into its fields. */
export function readMessage(bytes: Uint8Array): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(varint());
    let value: bigint | Uint8Array;
    if ((key & 7) === 0) value = varint();
    else {
      const length = { 1: 8, 2: 0, 5: 4 }[key & 7];
      const size = length === 0 ? Number(varint()) : length!;
      value = bytes.subarray(at, at += size);
      assertEquals(value.length, size);
    }
    fields.set(key >> 3, [...fields.get(key >> 3) ?? [], value]);
  }
  return fields;
}

/** The message at a path of field numbers, each given once. */
export function at(fields: Fields, ...path: number[]): Fields {
  return path.reduce((inner, number) => readMessage(bytesAt(inner, number)), fields);
}

/** The bytes of a field that is given once. */
export function bytesAt(fields: Fields, number: number): Uint8Array {
  const values = fields.get(number) ?? [];
  assertEquals(values.length, 1, `field ${number}`);
  return values[0] as Uint8Array;
}

/** The text of a field that is given once. */
export function textAt(fields: Fields, number: number): string {
  return new TextDecoder().decode(bytesAt(fields, number));
}

/** The number of a field of 8, 4, or any bytes. */
export function numberAt(fields: Fields, number: number): number {
  const value = fields.get(number)?.[0];
  if (!(value instanceof Uint8Array)) return Number(value);
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  return value.length === 8 ? view.getFloat64(0, true) : view.getFloat32(0, true);
}

/** The events of a file. */
export function readEvents(file: Uint8Array): Event[] {
  return readRecords(file).map((record) => {
    const fields = readMessage(record);
    return { wallTime: numberAt(fields, 1), step: numberAt(fields, 2), fields };
  });
}
