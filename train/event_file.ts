/**
 * TensorBoard's event files: TFRecord framing around the protocol buffers that TensorBoard reads.
 *
 * The messages are those of `tensorboard/compat/proto` (event, summary, tensor) and of
 * `tensorboard/plugins/hparams`; a field is written by its number.
 *
 * @module
 */

import { join } from "@std/path";

/** The fields of a message, encoded. */
export type Message = Uint8Array<ArrayBuffer>;

const UTF8 = new TextEncoder();
const POLYNOMIAL = 0x82f63b78; // CRC-32C, reflected

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ POLYNOMIAL : byte >>> 1;
  return byte;
});

/** The CRC-32C (Castagnoli) of bytes. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** The checksum of a record: a CRC-32C, turned and shifted so that it is no CRC of itself. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** A record: the length, its checksum, the data, their checksum. */
export function record(data: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(data.length + 16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(bytes.subarray(0, 8)), true);
  bytes.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Message {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

const whole = (field: number, value: number) => Uint8Array.of(field << 3, ...varint(value));

const bytes = (field: number, value: Uint8Array): Message =>
  concat([Uint8Array.of((field << 3) | 2, ...varint(value.length)), value]);

const text = (field: number, value: string) => bytes(field, UTF8.encode(value));

const message = (field: number, ...parts: Uint8Array[]) => bytes(field, concat(parts));

function double(field: number, value: number): Message {
  const encoded = new DataView(new ArrayBuffer(9));
  encoded.setUint8(0, (field << 3) | 1);
  encoded.setFloat64(1, value, true);
  return new Uint8Array(encoded.buffer);
}

function float(field: number, value: number): Message {
  const encoded = new DataView(new ArrayBuffer(5));
  encoded.setUint8(0, (field << 3) | 5);
  encoded.setFloat32(1, value, true);
  return new Uint8Array(encoded.buffer);
}

const DT_FLOAT = 1, DT_STRING = 7;
const DATA_CLASS_TENSOR = 2;

/** What a plugin is told of its values; `content` is its own message. */
const metadata = (plugin: string, ...content: Uint8Array[]) =>
  message(9, message(1, text(1, plugin), ...content), whole(4, DATA_CLASS_TENSOR));

/** Numbers of a step, as one summary. */
export function scalarSummary(values: Readonly<Record<string, number>>): Message {
  return message(
    5,
    ...Object.entries(values).map(([tag, value]) => message(1, text(1, tag), float(2, value))),
  );
}

/**
 * A text, which TensorBoard shows as Markdown. Its tag gets an ending, as PyTorch's writer does it,
 * since TensorBoard does not take a text and a picture of one tag.
 */
export function textSummary(tag: string, value: string): Message {
  const tensor = message(8, whole(1, DT_STRING), message(2), text(8, value));
  return message(5, message(1, text(1, `${tag}/text_summary`), tensor, metadata("text")));
}

/** A picture in a PNG file of red, green and blue. */
export function imageSummary(
  tag: string,
  png: Uint8Array,
  width: number,
  height: number,
): Message {
  const image = message(4, whole(1, height), whole(2, width), whole(3, 3), bytes(4, png));
  return message(5, message(1, text(1, tag), image));
}

/** The settings of a run, for TensorBoard's table of hyperparameters. */
export function hparamsSummary(
  values: Readonly<Record<string, string | number | boolean>>,
  group: string,
  startSeconds: number,
): Message {
  const entries = Object.entries(values).map(([name, value]) =>
    message(
      1,
      text(1, name),
      message(
        2,
        typeof value === "number"
          ? double(2, value)
          : typeof value === "boolean"
          ? whole(4, Number(value))
          : text(3, value),
      ),
    )
  );
  const start = message(3, ...entries, text(4, group), double(5, startSeconds));
  const nothing = message(8, whole(1, DT_FLOAT), message(2, message(2, whole(1, 0))));
  const tag = text(1, "_hparams_/session_start_info");
  return message(5, message(1, tag, nothing, metadata("hparams", bytes(2, start))));
}

const FILE_VERSION = text(3, "brain.Event:2");
const SESSION_START = message(7, whole(1, 1));

/**
 * An event file that only grows, by whole records: what was written stays readable whenever the
 * process ends. A record that could not be written whole is cut off again.
 */
export class EventFile implements Disposable {
  /** The path. */
  readonly path: string;
  readonly #file: Deno.FsFile;
  #size = 0;

  /**
   * Makes a new file in a folder that exists, beside those of earlier parts of the run.
   *
   * @param firstStep The step at which this part begins: events that an earlier part wrote from that
   * step on are no longer shown.
   */
  constructor(folder: string, firstStep: number) {
    const seconds = Math.floor(Date.now() / 1000);
    [this.path, this.#file] = createFile(folder, `events.out.tfevents.${seconds}.glimpse`);
    this.write(0, FILE_VERSION);
    this.write(firstStep, SESSION_START);
  }

  /** Appends an event: a step and what happened at it. */
  write(step: number, what: Uint8Array): void {
    const event = record(concat([double(1, Date.now() / 1000), whole(2, step), what]));
    try {
      for (let done = 0; done < event.length;) {
        done += this.#file.writeSync(event.subarray(done));
      }
      this.#size += event.length;
    } catch (error) {
      this.#file.truncateSync(this.#size);
      this.#file.seekSync(this.#size, Deno.SeekMode.Start);
      throw error;
    }
  }

  /** Forces what was written to the disk. */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

function createFile(folder: string, name: string): [string, Deno.FsFile] {
  for (let part = 0;; part++) {
    const path = join(folder, `${name}.${part}`);
    try {
      return [path, Deno.openSync(path, { write: true, createNew: true })];
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
  }
}
