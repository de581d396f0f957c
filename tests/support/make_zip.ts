/** Zip archives made by hand, wrong ones too. */

import { crc32 } from "../../model/crc32.ts";

/** A file and what to say of it, the truth where nothing is said. */
export interface ZipFile {
  readonly name: string;
  readonly content: Uint8Array<ArrayBuffer>;
  readonly deflate?: boolean;
  readonly method?: number;
  readonly encrypted?: boolean;
  readonly crc?: number;
  readonly size?: number;
  readonly stored?: number;
  readonly offset?: number;
  readonly mode?: number;
  /** Whether it is only in the list. */
  readonly bare?: boolean;
  /** Whether its numbers stand in a zip64 field. */
  readonly wide?: boolean;
}

function record(...fields: [bytes: number, value: number][]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(fields.reduce((sum, [length]) => sum + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [length, value] of fields) {
    if (length === 2) view.setUint16(at, value, true);
    else if (length === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += length;
  }
  return bytes;
}

async function deflated(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Makes an archive. */
export async function makeZip(files: readonly ZipFile[]): Promise<Uint8Array<ArrayBuffer>> {
  const body: Uint8Array<ArrayBuffer>[] = [], directory: Uint8Array<ArrayBuffer>[] = [];
  const lengthOf = (parts: readonly Uint8Array[]) => parts.reduce((sum, p) => sum + p.length, 0);
  for (const file of files) {
    const name = new TextEncoder().encode(file.name);
    const data = file.deflate ? await deflated(file.content) : file.content;
    const method = file.method ?? (file.deflate ? 8 : 0);
    const crc = file.crc ?? crc32(file.content);
    const offset = file.offset ?? lengthOf(body);
    const stored = file.stored ?? data.length, size = file.size ?? file.content.length;
    const flags = 2048 + (file.encrypted ? 1 : 0);
    const narrow = (value: number) => file.wide ? 0xffffffff : value;
    const extra = file.wide
      ? record([2, 1], [2, 24], [8, size], [8, stored], [8, offset])
      : record();
    if (!file.bare) {
      body.push(
        record([4, 0x04034b50], [2, 45], [2, flags], [2, method], [4, 0], [4, crc], [4, stored]),
        record([4, size], [2, name.length], [2, 0]),
        name,
        data,
      );
    }
    directory.push(
      record([4, 0x02014b50], [2, 0x032d], [2, 45], [2, flags], [2, method], [4, 0], [4, crc]),
      record([4, narrow(stored)], [4, narrow(size)], [2, name.length], [2, extra.length], [2, 0]),
      record([2, 0], [2, 0], [4, (file.mode ?? 0o100644) * 65536], [4, narrow(offset)]),
      name,
      extra,
    );
  }
  const start = lengthOf(body), length = lengthOf(directory), count = files.length;
  const wide = files.some((file) => file.wide);
  const end = wide
    ? [
      record([4, 0x06064b50], [8, 44], [2, 45], [2, 45], [4, 0], [4, 0], [8, count], [8, count]),
      record([8, length], [8, start]),
      record([4, 0x07064b50], [4, 0], [8, start + length], [4, 1]),
    ]
    : [];
  const last = record(
    ...[[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count]] as [number, number][],
    [4, wide ? 0xffffffff : length],
    [4, wide ? 0xffffffff : start],
    [2, 0],
  );
  return await new Blob([...body, ...directory, ...end, last]).bytes();
}
