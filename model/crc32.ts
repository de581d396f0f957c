/** Eight tables of 256: the k-th advances the sum of a byte past k zero bytes. */
const TABLE: Uint32Array = makeTable();

function makeTable(): Uint32Array {
  const table = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let sum = byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >>> 1 ^ 0xedb88320 : sum >>> 1;
    table[byte] = sum;
  }
  for (let i = 256; i < table.length; i++) {
    const sum = table[i - 256]!;
    table[i] = sum >>> 8 ^ table[sum & 255]!;
  }
  return table;
}

/**
 * The CRC-32 of zip, gzip and PNG (polynomial 0xedb88320), eight bytes at a time.
 *
 * @param before That of what stands before the bytes.
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  const table = TABLE;
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = bytes.length - bytes.length % 8;
  let sum = ~before;
  for (let i = 0; i < whole; i += 8) {
    const low = data.getUint32(i, true) ^ sum;
    const high = data.getUint32(i + 4, true);
    sum = table[1792 + (low & 255)]! ^ table[1536 + (low >>> 8 & 255)]! ^
      table[1280 + (low >>> 16 & 255)]! ^ table[1024 + (low >>> 24)]! ^
      table[768 + (high & 255)]! ^ table[512 + (high >>> 8 & 255)]! ^
      table[256 + (high >>> 16 & 255)]! ^ table[high >>> 24]!;
  }
  for (let i = whole; i < bytes.length; i++) sum = sum >>> 8 ^ table[(sum ^ bytes[i]!) & 255]!;
  return ~sum >>> 0;
}
