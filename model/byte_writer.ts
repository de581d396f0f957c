/** Puts little-endian numbers and bytes one after the other. */
export class ByteWriter {
  #data = new DataView(new ArrayBuffer(256));
  #length = 0;

  /** How many bytes were written. */
  get length(): number {
    return this.#length;
  }

  /** What was written. */
  bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#data.buffer.slice(0, this.#length));
  }

  /** Writes a byte. */
  uint8(value: number): void {
    const at = this.#grow(1);
    this.#data.setUint8(at, value);
  }

  /** Writes 2 bytes. */
  uint16(value: number): void {
    const at = this.#grow(2);
    this.#data.setUint16(at, value, true);
  }

  /** Writes 4 bytes. */
  uint32(value: number): void {
    const at = this.#grow(4);
    this.#data.setUint32(at, value, true);
  }

  /** Writes 8 bytes. */
  uint64(value: number | bigint): void {
    const at = this.#grow(8);
    this.#data.setBigUint64(at, BigInt(value), true);
  }

  /** Writes a float64 with its highest byte first, as a pickle has it. */
  float64BigEndian(value: number): void {
    const at = this.#grow(8);
    this.#data.setFloat64(at, value);
  }

  /** Writes bytes, or a text's UTF-8. */
  raw(value: Uint8Array | string): void {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    const at = this.#grow(bytes.length);
    new Uint8Array(this.#data.buffer).set(bytes, at);
  }

  /** Makes room for `count` bytes and gives where they go. */
  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#data.byteLength) {
      this.#data = new DataView(this.#data.buffer.transfer(2 * this.#length));
    }
    return at;
  }
}
