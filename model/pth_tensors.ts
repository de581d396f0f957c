import { FormatError } from "../kernels/runtime/errors.ts";
import { ELEMENT_SIZE, type HostDtype, type HostTensor } from "./host_tensor.ts";
import { PickleFunction } from "./pickle.ts";
import { checkedElementCount } from "./weight_file.ts";

/** A tensor that repeats few stored elements (stride 0) may have this many, but not more. */
const MAX_EXPANDED = 2 ** 24;

/** The kind of a storage, or nothing where it is untyped bytes. */
class StorageType {
  constructor(readonly dtype: HostDtype | undefined) {}
}

/** A stretch of elements in the file, on which several tensors may lie. */
class Storage {
  constructor(
    readonly key: string,
    readonly dtype: HostDtype | undefined,
    readonly byteLength: number,
    readonly read: (offset: number, length: number) => Promise<Uint8Array<ArrayBuffer>>,
    readonly first = 0,
  ) {}
}

const STORAGE_NAMES: readonly [string, HostDtype][] = [
  ["DoubleStorage", "float64"],
  ["FloatStorage", "float32"],
  ["HalfStorage", "float16"],
  ["BFloat16Storage", "bfloat16"],
  ["LongStorage", "int64"],
  ["IntStorage", "int32"],
  ["ShortStorage", "int16"],
  ["CharStorage", "int8"],
  ["ByteStorage", "uint8"],
  ["BoolStorage", "bool"],
];

/** The only names that a checkpoint may use, with what they stand for. */
export const PTH_GLOBALS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["collections.OrderedDict", new PickleFunction(orderedDict)],
  ["_codecs.encode", new PickleFunction(encodeLatin1)],
  ["torch.Size", new PickleFunction(([extents]) => extents)],
  ["torch._utils._rebuild_tensor", new PickleFunction(rebuildTensor)],
  ["torch._utils._rebuild_tensor_v2", new PickleFunction(rebuildTensor)],
  ["torch._utils._rebuild_tensor_v3", new PickleFunction(rebuildTensor)],
  ["torch._utils._rebuild_parameter", new PickleFunction(([tensor]) => tensor)],
  ["torch._utils._rebuild_parameter_with_state", new PickleFunction(([tensor]) => tensor)],
  ["torch.storage.UntypedStorage", new StorageType(undefined)],
  ...STORAGE_NAMES.flatMap(([name, dtype]): [string, unknown][] => [
    [`torch.${name}`, new StorageType(dtype)],
    [`torch.cuda.${name}`, new StorageType(dtype)],
  ]),
  ...Object.keys(ELEMENT_SIZE).map((dtype): [string, unknown] => [`torch.${dtype}`, dtype]),
]);

function orderedDict(args: readonly unknown[], name: string): Map<unknown, unknown> {
  const [items = []] = args;
  if (Array.isArray(items) && items.every((item) => Array.isArray(item) && item.length === 2)) {
    return new Map(items);
  }
  throw new FormatError(`${name} is corrupt: an OrderedDict in it is not made of pairs.`);
}

/** How protocol 2 spells bytes: as the text whose Latin-1 encoding they are. */
function encodeLatin1([text, encoding]: readonly unknown[], name: string): Uint8Array {
  if (typeof text === "string" && encoding === "latin1") {
    return Uint8Array.from(text, (character) => character.charCodeAt(0));
  }
  throw new FormatError(`${name} holds bytes that are not spelled in latin1.`);
}

/** Where a checkpoint of some format keeps a storage. */
export type OpenStorage = (
  key: string,
  count: number,
  elementSize: number,
) => (offset: number, length: number) => Promise<Uint8Array<ArrayBuffer>>;

/**
 * What the persistent id `("storage", type, key, device, count, view)` stands for.
 *
 * @throws {FormatError} if it is none.
 */
export function openStorage(id: unknown, name: string, open: OpenStorage): unknown {
  if (Array.isArray(id)) {
    const [what, type, key, , count, view]: readonly unknown[] = id;
    if (
      what === "storage" && type instanceof StorageType && typeof key === "string" &&
      isIndex(count) && (view == null || Array.isArray(view))
    ) {
      const size = type.dtype ? ELEMENT_SIZE[type.dtype] : 1;
      const first: unknown = view?.[1] ?? 0; // the oldest files know storages that view another
      if (isIndex(count * size) && isIndex(first)) {
        return new Storage(key, type.dtype, count * size, open(key, count, size), first);
      }
    }
  }
  throw new FormatError(`${name} refers to something that is not a storage of a known kind.`);
}

/** The arguments: storage, offset, shape, strides, requires_grad, hooks, and in v3 the type. */
function rebuildTensor(args: readonly unknown[], name: string): HostTensor {
  const [storage, offset, shape, strides, , , dtype] = args;
  const kind = storage instanceof Storage ? storage.dtype ?? dtype : undefined;
  if (
    !(storage instanceof Storage) || !isHostDtype(kind) || !isIndex(offset) || !isIndices(shape) ||
    !isIndices(strides) || shape.length !== strides.length
  ) {
    throw new FormatError(`${name} describes a tensor in a way or of a type that is not known.`);
  }
  const size = ELEMENT_SIZE[kind];
  const count = checkedElementCount(shape);
  const capacity = Math.floor(storage.byteLength / size);
  const begin = storage.first + offset;
  const span = count === 0 ? 0 : shape.reduce((last, n, i) => last + (n - 1) * strides[i]!, 1);
  if (
    count === undefined || !(begin + span <= capacity) || count > Math.max(capacity, MAX_EXPANDED)
  ) {
    throw new FormatError(
      `${name} is corrupt: a tensor of shape [${shape}], strides [${strides}] and offset ${begin} ` +
        `does not lie on its storage ${storage.key} of ${capacity} elements.`,
    );
  }
  return {
    name: `storage ${storage.key}`,
    dtype: kind,
    shape,
    async read() {
      const bytes = await storage.read(begin * size, span * size);
      return isContiguous(shape, strides) ? bytes : gather(bytes, shape, strides, size);
    },
  };
}

function isIndex(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isIndices(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isIndex);
}

function isHostDtype(value: unknown): value is HostDtype {
  return typeof value === "string" && Object.hasOwn(ELEMENT_SIZE, value);
}

/** Whether elements lie one after the other in row-major order. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Copies strided elements of `size` bytes into row-major order. */
function gather(
  bytes: Uint8Array<ArrayBuffer>,
  shape: readonly number[],
  strides: readonly number[],
  size: number,
): Uint8Array<ArrayBuffer> {
  if (size === 8) {
    return gather(bytes, [...shape, 2], [...strides.map((stride) => 2 * stride), 1], 4);
  }
  const Elements = size === 4 ? Uint32Array : size === 2 ? Uint16Array : Uint8Array;
  const from = new Elements(bytes.buffer, bytes.byteOffset, bytes.byteLength / size);
  const to = new Elements(shape.reduce((product, extent) => product * extent, 1));
  const [width, step] = [shape.at(-1)!, strides.at(-1)!];
  const index = new Array<number>(shape.length - 1).fill(0);
  let row = 0;
  for (let at = 0; at < to.length; at += width) {
    for (let i = 0; i < width; i++) to[at + i] = from[row + i * step]!;
    for (let axis = index.length - 1; axis >= 0; axis--) {
      row += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      row -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
  return new Uint8Array(to.buffer);
}
