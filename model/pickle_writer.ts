import { GlimpseError } from "../kernels/runtime/errors.ts";
import { ByteWriter } from "./byte_writer.ts";
import {
  ELEMENT_SIZE,
  elementCount,
  type HostDtype,
  type HostTensor,
  isHostTensor,
} from "./host_tensor.ts";

/** What can be saved: dictionaries as Maps or objects, lists as arrays, and tensors in them. */
export type PthContent =
  | null
  | boolean
  | number
  | bigint
  | string
  | HostTensor
  | readonly PthContent[]
  | ReadonlyMap<PthContent, PthContent>
  | { readonly [key: string]: PthContent };

/** The storage types of PyTorch; a kind without one lies on untyped bytes. */
const STORAGES: Readonly<Partial<Record<HostDtype, string>>> = {
  float64: "DoubleStorage",
  float32: "FloatStorage",
  float16: "HalfStorage",
  bfloat16: "BFloat16Storage",
  int64: "LongStorage",
  int32: "IntStorage",
  int16: "ShortStorage",
  int8: "CharStorage",
  uint8: "ByteStorage",
  bool: "BoolStorage",
};

/** Opcodes of protocol 2; https://github.com/python/cpython/blob/main/Lib/pickletools.py. */
const OP = {
  proto: 0x80,
  stop: 0x2e,
  mark: 0x28,
  none: 0x4e,
  true: 0x88,
  false: 0x89,
  int32: 0x4a,
  long: 0x8a,
  float: 0x47,
  text: 0x58,
  emptyList: 0x5d,
  appends: 0x65,
  emptyDict: 0x7d,
  setItems: 0x75,
  emptyTuple: 0x29,
  tuple: 0x74,
  global: 0x63,
  persistentId: 0x51,
  reduce: 0x52,
};

/**
 * Writes a value as the pickle that torch.save would make of it, which
 * `torch.load(weights_only=True)` takes. Whole numbers become int, others float.
 *
 * @param ordered Whether the outermost dictionary is an OrderedDict, as a module's state is.
 * @returns the pickle, and the tensors in the order of their storages. A tensor that occurs more
 * than once has one storage.
 * @throws {GlimpseError} if a number takes more than 255 bytes.
 */
export function pickleContent(
  value: PthContent,
  ordered: boolean,
): { bytes: Uint8Array<ArrayBuffer>; storages: HostTensor[] } {
  const to = new ByteWriter();
  const storages = new Map<HostTensor, number>();
  to.uint8(OP.proto);
  to.uint8(2);
  write(to, value, storages, ordered);
  to.uint8(OP.stop);
  return { bytes: to.bytes(), storages: [...storages.keys()] };
}

function write(
  to: ByteWriter,
  value: PthContent,
  storages: Map<HostTensor, number>,
  ordered = false,
): void {
  if (value === null) to.uint8(OP.none);
  else if (typeof value === "boolean") to.uint8(value ? OP.true : OP.false);
  else if (typeof value === "string") writeText(to, value);
  else if (typeof value === "number" || typeof value === "bigint") writeNumber(to, value);
  else if (isHostTensor(value)) writeTensor(to, value, storages);
  else if (isList(value)) {
    to.uint8(OP.emptyList);
    to.uint8(OP.mark);
    for (const item of value) write(to, item, storages);
    to.uint8(OP.appends);
  } else {
    if (ordered) writeOrderedDict(to);
    else to.uint8(OP.emptyDict);
    to.uint8(OP.mark);
    for (const [key, item] of value instanceof Map ? value : Object.entries(value)) {
      write(to, key, storages);
      write(to, item, storages);
    }
    to.uint8(OP.setItems);
  }
}

function isList(value: PthContent): value is readonly PthContent[] {
  return Array.isArray(value);
}

function writeText(to: ByteWriter, text: string): void {
  const bytes = new TextEncoder().encode(text);
  to.uint8(OP.text);
  to.uint32(bytes.length);
  to.raw(bytes);
}

function writeNumber(to: ByteWriter, value: number | bigint): void {
  if (typeof value === "number" && (!Number.isSafeInteger(value) || Object.is(value, -0))) {
    to.uint8(OP.float);
    to.float64BigEndian(value);
  } else if (BigInt.asIntN(32, BigInt(value)) === BigInt(value)) {
    to.uint8(OP.int32);
    to.uint32(Number(value));
  } else {
    const whole = BigInt(value);
    let length = 5;
    while (length < 256 && BigInt.asIntN(8 * length, whole) !== whole) length++;
    if (length > 255) throw new GlimpseError("A number to be saved takes more than 255 bytes.");
    to.uint8(OP.long);
    to.uint8(length);
    for (let i = 0; i < length; i++) to.uint8(Number(whole >> BigInt(8 * i) & 255n));
  }
}

function writeGlobal(to: ByteWriter, module: string, name: string): void {
  to.uint8(OP.global);
  to.raw(`${module}\n${name}\n`);
}

function writeOrderedDict(to: ByteWriter): void {
  writeGlobal(to, "collections", "OrderedDict");
  to.uint8(OP.emptyTuple);
  to.uint8(OP.reduce);
}

function writeExtents(to: ByteWriter, extents: readonly number[]): void {
  to.uint8(OP.mark);
  for (const extent of extents) writeNumber(to, extent);
  to.uint8(OP.tuple);
}

/** A call of `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, hooks)`. */
function writeTensor(
  to: ByteWriter,
  tensor: HostTensor,
  storages: Map<HostTensor, number>,
): void {
  const { dtype, shape } = tensor;
  const key = storages.get(tensor) ?? storages.size;
  storages.set(tensor, key);
  const storage = STORAGES[dtype];
  const count = elementCount(shape);
  writeGlobal(to, "torch._utils", storage ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  to.uint8(OP.mark);
  to.uint8(OP.mark);
  writeText(to, "storage");
  if (storage) writeGlobal(to, "torch", storage);
  else writeGlobal(to, "torch.storage", "UntypedStorage");
  writeText(to, `${key}`);
  writeText(to, "cpu");
  writeNumber(to, storage ? count : count * ELEMENT_SIZE[dtype]);
  to.uint8(OP.tuple);
  to.uint8(OP.persistentId);
  writeNumber(to, 0);
  writeExtents(to, shape);
  writeExtents(to, shape.map((_, axis) => elementCount(shape.slice(axis + 1).map(atLeastOne))));
  to.uint8(OP.false);
  writeOrderedDict(to);
  if (!storage) writeGlobal(to, "torch", dtype);
  to.uint8(OP.tuple);
  to.uint8(OP.reduce);
}

/** PyTorch's strides count an empty axis as one. */
function atLeastOne(extent: number): number {
  return Math.max(extent, 1);
}
