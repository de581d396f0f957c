import { FormatError } from "../kernels/runtime/errors.ts";

/** A name that a pickle may call, with what happens then. */
export class PickleFunction {
  /**
   * Makes a function that a pickle may call.
   *
   * @param call Gets the arguments as the pickle gives them, unchecked, and the pickle's name.
   */
  constructor(readonly call: (args: readonly unknown[], name: string) => unknown) {}
}

/** What a pickle may refer to. */
export interface PickleWorld {
  /** What the pickle is called in an error. */
  readonly name: string;
  /** The only names that may occur, as `module.name`, with the values that they stand for. */
  readonly globals: ReadonlyMap<string, unknown>;
  /** What a persistent id stands for. */
  persistent(id: unknown): unknown;
}

/** The most lists, tuples and dictionaries in a pickle, so that a small file stays small. */
const MAX_CONTAINERS = 2_000_000;

/**
 * Reads one pickle (protocols 2 to 5) that begins at byte `start`. Nothing is ever executed: data
 * become numbers (bigint beyond 2⁵³), strings, booleans, null, arrays (list and tuple), Maps
 * (dict) and Uint8Arrays, and a name that is not in `world.globals` is refused when it is met.
 * A state that is set on a Map (an OrderedDict's attributes) is dropped.
 *
 * Format: https://github.com/python/cpython/blob/main/Lib/pickletools.py
 *
 * @returns the value and the byte after the pickle.
 * @throws {FormatError} if the pickle is truncated or corrupt or refers to anything else.
 */
export function unpickle(
  bytes: Uint8Array,
  start: number,
  world: PickleWorld,
): { value: unknown; end: number } {
  return new Unpickler(bytes, start, world).run();
}

/** The stack machine that a pickle is a program for. */
class Unpickler {
  #stack: unknown[] = [];
  #marks: number[] = [];
  #memo = new Map<number, unknown>();
  #containers = 0;
  #data: DataView;

  constructor(readonly bytes: Uint8Array, private at: number, readonly world: PickleWorld) {
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): { value: unknown; end: number } {
    while (true) {
      const opcode = this.#uint(1);
      if (opcode === 0x2e) return { value: this.#pop(), end: this.at }; // STOP
      this.#step(opcode);
    }
  }

  #step(opcode: number): void {
    switch (opcode) {
      case 0x80: // PROTO
        if (this.#uint(1) > 5) throw this.#fail("its protocol is newer than 5");
        return;
      case 0x95: // FRAME
        this.#take(8);
        return;
      case 0x28: // MARK
        this.#container(this.#marks.push(this.#stack.length));
        return;
      case 0x30: // POP
        this.#pop();
        return;
      case 0x31: // POP_MARK
        this.#popMark();
        return;

      case 0x71: // BINPUT
        this.#memo.set(this.#uint(1), this.#top());
        return;
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#uint(4), this.#top());
        return;
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 0x68: // BINGET
        return this.#recall(this.#uint(1));
      case 0x6a: // LONG_BINGET
        return this.#recall(this.#uint(4));

      case 0x4e: // NONE
        return this.#push(null);
      case 0x88: // NEWTRUE
        return this.#push(true);
      case 0x89: // NEWFALSE
        return this.#push(false);
      case 0x4a: // BININT
        return this.#push(this.#uint(4) | 0);
      case 0x4b: // BININT1
        return this.#push(this.#uint(1));
      case 0x4d: // BININT2
        return this.#push(this.#uint(2));
      case 0x8a: // LONG1
        return this.#push(integer(this.#take(this.#uint(1))));
      case 0x47: // BINFLOAT
        return this.#push(this.#data.getFloat64(this.#advance(8)));

      case 0x58: // BINUNICODE
        return this.#push(this.#text(this.#uint(4)));
      case 0x8c: // SHORT_BINUNICODE
        return this.#push(this.#text(this.#uint(1)));
      case 0x55: // SHORT_BINSTRING, Python 2
        return this.#push(this.#text(this.#uint(1)));
      case 0x54: // BINSTRING, Python 2
        return this.#push(this.#text(this.#uint(4)));
      case 0x42: // BINBYTES
        return this.#push(this.#take(this.#uint(4)).slice());
      case 0x43: // SHORT_BINBYTES
        return this.#push(this.#take(this.#uint(1)).slice());

      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        return this.#push(this.#container([]));
      case 0x6c: // LIST
      case 0x74: // TUPLE
        return this.#push(this.#container(this.#popMark()));
      case 0x85: // TUPLE1
        return this.#push(this.#container([this.#pop()]));
      case 0x86: // TUPLE2
        return this.#push(this.#container([this.#pop(), this.#pop()].reverse()));
      case 0x87: // TUPLE3
        return this.#push(this.#container([this.#pop(), this.#pop(), this.#pop()].reverse()));
      case 0x61: { // APPEND
        const item = this.#pop();
        this.#list().push(item);
        return;
      }
      case 0x65: { // APPENDS
        const items = this.#popMark();
        const list = this.#list();
        for (const item of items) list.push(item);
        return;
      }
      case 0x7d: // EMPTY_DICT
        return this.#push(this.#container(new Map()));
      case 0x73: { // SETITEM
        const value = this.#pop();
        return this.#setItems([this.#pop(), value]);
      }
      case 0x75: // SETITEMS
        return this.#setItems(this.#popMark());

      case 0x63: // GLOBAL
        return this.#global(this.#line(), this.#line());
      case 0x93: { // STACK_GLOBAL
        const name = this.#pop();
        return this.#global(this.#pop(), name);
      }
      case 0x51: // BINPERSID
        return this.#push(this.world.persistent(this.#pop()));
      case 0x52: { // REDUCE
        const args = this.#pop();
        const called = this.#pop();
        if (!(called instanceof PickleFunction) || !Array.isArray(args)) {
          throw this.#fail("it calls what is not a function");
        }
        return this.#push(this.#container(called.call(args, this.world.name)));
      }
      case 0x62: // BUILD
        this.#pop();
        if (!(this.#top() instanceof Map)) throw this.#fail("it sets attributes of a value");
        return;
      default:
        throw this.#fail(`the operation 0x${opcode.toString(16)} does not belong into it`);
    }
  }

  #fail(why: string): FormatError {
    return new FormatError(`${this.world.name} cannot be read at byte ${this.at}: ${why}.`);
  }

  /** Moves past `count` bytes and gives where they begin. */
  #advance(count: number): number {
    const start = this.at;
    if (count > this.bytes.length - start) throw new TruncatedPickle(this.world.name);
    this.at += count;
    return start;
  }

  #take(count: number): Uint8Array {
    const start = this.#advance(count);
    return this.bytes.subarray(start, start + count);
  }

  #uint(size: 1 | 2 | 4): number {
    const start = this.#advance(size);
    if (size === 1) return this.bytes[start]!;
    return size === 2 ? this.#data.getUint16(start, true) : this.#data.getUint32(start, true);
  }

  #text(length: number): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.#take(length));
    } catch (cause) {
      throw cause instanceof TypeError ? this.#fail("a text is not UTF-8") : cause;
    }
  }

  #line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) throw new TruncatedPickle(this.world.name);
    const line = this.#text(end - this.at);
    this.at++;
    return line;
  }

  #push(value: unknown): void {
    this.#stack.push(value);
  }

  /** The lowest place of the stack that may be touched: that of the last mark. */
  #floor(): number {
    return this.#marks.at(-1) ?? 0;
  }

  #top(): unknown {
    if (this.#stack.length <= this.#floor()) throw this.#fail("its stack is empty");
    return this.#stack.at(-1);
  }

  #pop(): unknown {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.#fail("a mark is missing");
    return this.#stack.splice(mark);
  }

  #container<T>(value: T): T {
    if (++this.#containers > MAX_CONTAINERS) throw this.#fail("it holds too many values");
    return value;
  }

  #list(): unknown[] {
    const list = this.#top();
    if (!Array.isArray(list)) throw this.#fail("it appends to what is not a list");
    return list;
  }

  #setItems(items: readonly unknown[]): void {
    const map = this.#top();
    if (!(map instanceof Map)) throw this.#fail("it sets an item of what is not a dictionary");
    if (items.length % 2) throw this.#fail("a value is missing");
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  #recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.#fail(`nothing was kept as ${index}`);
    this.#push(value);
  }

  #global(module: unknown, name: unknown): void {
    if (typeof module !== "string" || typeof name !== "string") {
      throw this.#fail("a name is not a text");
    }
    const value = this.world.globals.get(`${module}.${name}`);
    if (value === undefined) {
      throw new FormatError(
        `${this.world.name} refers to ${module}.${name}, which is not among the names that a ` +
          `weight file may use; nothing was run. Load it only in the program that wrote it, and ` +
          `only if you trust it.`,
      );
    }
    this.#push(value);
  }
}

/** The bytes end before the pickle does; more bytes may help. */
export class TruncatedPickle extends FormatError {
  /** Makes the error for the pickle of that name. */
  constructor(name: string) {
    super(`${name} is truncated: it ends in the middle of a pickle. Fetch or write it again.`);
  }
}

/** A little-endian two's complement integer: a number if that is exact, otherwise a bigint. */
function integer(bytes: Uint8Array): number | bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]!);
  const signed = BigInt.asIntN(8 * bytes.length, value);
  return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
}
