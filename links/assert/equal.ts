import { types } from "node:util";

/**
 * Whether two values are deeply equal: own and inherited properties, array elements, the members of
 * sets and maps (in any order), typed arrays and buffers by their content, dates by their time. `NaN`
 * equals `NaN`, `0` equals `-0`, and objects of different prototypes differ.
 */
export function equal(a: unknown, b: unknown): boolean {
  return compare(a, b, new Map());
}

function compare(a: unknown, b: unknown, seen: Map<object, object>): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b) || prototype(a) !== prototype(b)) return false;
  if (seen.get(a) === b) return true;
  seen.set(a, b);
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (types.isTypedArray(a) && types.isTypedArray(b)) {
    return a.length === b.length && a.every((x, i) => x === b[i] || Object.is(x, b[i]));
  }
  if (types.isAnyArrayBuffer(a) && types.isAnyArrayBuffer(b)) {
    return compare(new Uint8Array(a), new Uint8Array(b), seen);
  }
  if (a instanceof RegExp || a instanceof URL) return String(a) === String(b);
  if (a instanceof Set && b instanceof Set) return sameMembers([...a], [...b], seen);
  if (a instanceof Map && b instanceof Map) return sameMembers([...a], [...b], seen);
  if (Object.keys(a).length !== Object.keys(b).length) return false;
  return keys(a).union(keys(b)).values().every((key) =>
    key in a && key in b && compare(Reflect.get(a, key), Reflect.get(b, key), seen)
  );
}

/** Whether each member of `a` has its own equal among `b`. */
function sameMembers(a: unknown[], b: unknown[], seen: Map<object, object>): boolean {
  if (a.length !== b.length) return false;
  const rest = [...b];
  return a.every((x) => {
    const at = rest.findIndex((y) => compare(x, y, new Map(seen)));
    if (at >= 0) rest.splice(at, 1);
    return at >= 0;
  });
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** The prototype, where none counts as the plain object's. */
function prototype(value: object): unknown {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

/** The keys of an object and, for an instance of a class, of what it inherits. */
function keys(value: object): Set<string | symbol> {
  const found = new Set<string | symbol>();
  for (
    let at: object | null = value;
    at !== null && at !== Object.prototype && at !== Array.prototype;
    at = Object.getPrototypeOf(at)
  ) Reflect.ownKeys(at).forEach((key) => found.add(key));
  return found;
}
