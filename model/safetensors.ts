import { FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import type { ByteSource } from "./bytes.ts";
import {
  byteLength,
  ELEMENT_SIZE,
  type HostDtype,
  type HostTensor,
  readChecked,
} from "./host_tensor.ts";
import { isRecord, parseStrictJson } from "./strict_json.ts";
import { checkedElementCount, type WeightFile } from "./weight_file.ts";

/** The longest header that the reference implementation reads, in bytes. */
const MAX_HEADER_LENGTH = 100_000_000;

const DTYPES: ReadonlyMap<string, HostDtype> = new Map([
  ["F64", "float64"],
  ["F32", "float32"],
  ["F16", "float16"],
  ["BF16", "bfloat16"],
  ["I64", "int64"],
  ["I32", "int32"],
  ["I16", "int16"],
  ["I8", "int8"],
  ["U8", "uint8"],
  ["U32", "uint32"],
  ["BOOL", "bool"],
]);
const DTYPE_NAMES: ReadonlyMap<HostDtype, string> = new Map(
  [...DTYPES].map(([name, dtype]) => [dtype, name]),
);

interface Entry {
  tensor: HostTensor;
  begin: number;
  end: number;
}

/**
 * Opens a safetensors file. The header is checked in full: its length, its JSON, every type and
 * shape, and that the byte ranges cover the file without overlap or hole. Tensors are read when
 * asked.
 *
 * Format: https://github.com/huggingface/safetensors#format
 *
 * @throws {FormatError} if the file is not as it should be.
 */
export async function readSafetensors(source: ByteSource): Promise<WeightFile> {
  const { name } = source;
  const length = await headerLength(source);
  const { __metadata__: remarks, ...entries } = parseStrictJson(
    await source.read(8, length),
    `The header of ${name}`,
  );
  const metadata = readMetadata(remarks, name);
  const start = 8 + length;
  const tensors = Object.entries(entries).map(([key, entry]) =>
    readEntry(key, entry, start, source)
  );
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = 0;
  for (const { tensor, begin, end } of tensors) {
    if (begin !== position) {
      const what = begin < position ? "overlap" : "leave a hole";
      throw new FormatError(`${name}: the bytes of ${tensor.name} ${what} at byte ${begin}.`);
    }
    position = end;
  }
  if (start + position !== source.size) {
    throw new FormatError(
      `${name} is truncated or corrupt: its header describes ${start + position} bytes, ` +
        `but it has ${source.size}.`,
    );
  }
  return { tensors: new Map(tensors.map(({ tensor }) => [tensor.name, tensor])), metadata };
}

async function headerLength(source: ByteSource): Promise<number> {
  const length = new DataView((await source.read(0, 8)).buffer).getBigUint64(0, true);
  if (length > MAX_HEADER_LENGTH || length > source.size - 8) {
    throw new FormatError(
      `${source.name} is not a safetensors file or is truncated: ` +
        `its header would be ${length} bytes long, and the file has ${source.size}.`,
    );
  }
  return Number(length);
}

function readMetadata(remarks: unknown, name: string): Record<string, string> {
  if (remarks === undefined) return {};
  if (isRecord(remarks)) {
    const texts = Object.entries(remarks).filter((remark): remark is [string, string] =>
      typeof remark[1] === "string"
    );
    if (texts.length === Object.keys(remarks).length) return Object.fromEntries(texts);
  }
  throw new FormatError(`${name}: __metadata__ must map names to texts.`);
}

function readEntry(name: string, entry: unknown, start: number, source: ByteSource): Entry {
  const refuse = (why: string): never => {
    throw new FormatError(`${source.name}: the tensor ${name} ${why}.`);
  };
  if (!isRecord(entry)) return refuse("is not described by an object");
  const { dtype: kind, shape, data_offsets: range } = entry;
  const dtype = typeof kind === "string" ? DTYPES.get(kind) : undefined;
  if (!dtype) {
    return refuse(`has the type ${JSON.stringify(kind)}; known are ${[...DTYPES.keys()]}`);
  }
  const count = Array.isArray(shape) ? checkedElementCount(shape) : undefined;
  if (count === undefined || !Array.isArray(shape)) {
    return refuse(`has the shape ${JSON.stringify(shape)}`);
  }
  const [begin, end] = Array.isArray(range) ? range : [];
  if (
    !Array.isArray(range) || range.length !== 2 ||
    !Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || begin < 0 ||
    end > source.size - start
  ) {
    return refuse(`has the byte range ${JSON.stringify(range)} in ${source.size - start} bytes`);
  }
  if (end - begin !== count * ELEMENT_SIZE[dtype]) {
    return refuse(
      `of type ${kind} and shape [${shape}] takes ${count * ELEMENT_SIZE[dtype]} bytes, ` +
        `but its range [${range}] has ${end - begin}`,
    );
  }
  const read = () => source.read(start + begin, end - begin);
  return { tensor: { name, dtype, shape, read }, begin, end };
}

/**
 * Writes a safetensors file piece by piece: the header, then one tensor after the other, those
 * with the widest elements first, so that all stand aligned. transformers wants `metadata` to
 * say `{ format: "pt" }`.
 *
 * @throws {GlimpseError} if two tensors have one name.
 */
export async function* safetensorsChunks(
  tensors: Iterable<HostTensor>,
  metadata?: Record<string, string>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const ordered = [...tensors].sort((a, b) => ELEMENT_SIZE[b.dtype] - ELEMENT_SIZE[a.dtype]);
  const entries = new Map<string, unknown>();
  if (metadata) entries.set("__metadata__", metadata);
  let position = 0;
  for (const tensor of ordered) {
    if (entries.has(tensor.name) || tensor.name === "__metadata__") {
      throw new GlimpseError(`Two tensors to be written have the name ${tensor.name}.`);
    }
    const end = position + byteLength(tensor);
    entries.set(tensor.name, {
      dtype: DTYPE_NAMES.get(tensor.dtype),
      shape: tensor.shape,
      data_offsets: [position, end],
    });
    position = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  yield header;
  for (const tensor of ordered) yield await readChecked(tensor);
}
