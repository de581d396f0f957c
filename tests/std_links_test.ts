/**
 * The contract of `@std/assert`, `@std/path` and `@std/cli`, as their documentation states it: the
 * local packages in `links/` and the real ones both have to pass.
 */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  AssertionError,
  assertRejects,
  assertThrows,
  equal,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import {
  basename,
  dirname,
  extname,
  fromFileUrl,
  isAbsolute,
  join,
  normalize,
  relative,
  resolve,
  SEPARATOR,
  toFileUrl,
} from "@std/path";

/** The error that an assertion is expected to throw, found without the assertions under test. */
function failure(fn: () => void): AssertionError {
  try {
    fn();
  } catch (error) {
    if (error instanceof AssertionError) return error;
    throw error;
  }
  throw new Error("the assertion held");
}

async function asyncFailure(fn: () => Promise<unknown>): Promise<AssertionError> {
  try {
    await fn();
  } catch (error) {
    if (error instanceof AssertionError) return error;
    throw error;
  }
  throw new Error("the assertion held");
}

Deno.test("assert: truthy passes, falsy throws with the message", () => {
  assert(1);
  assert("x");
  for (const falsy of [0, "", false, null, undefined, NaN]) {
    if (failure(() => assert(falsy, "why")).message !== "why") throw new Error("message lost");
  }
});

Deno.test("AssertionError: is an Error with name, message and cause", () => {
  const error = new AssertionError("m", { cause: 3 });
  if (!(error instanceof Error) || error.name !== "AssertionError" || error.message !== "m") {
    throw new Error("not as documented");
  }
  if (error.cause !== 3) throw new Error("cause lost");
});

class Point {
  #hidden = 0;
  constructor(public x: number, hidden = 0) {
    this.#hidden = hidden;
  }
  get hidden(): number {
    return this.#hidden;
  }
}

const ring: { self?: unknown } = {};
ring.self = ring;
const otherRing: { self?: unknown } = {};
otherRing.self = otherRing;

const EQUAL: [unknown, unknown][] = [
  [0, -0],
  [NaN, NaN],
  [null, null],
  ["a", "a"],
  [[1, [2, { a: 3 }]], [1, [2, { a: 3 }]]],
  [[0], [-0]],
  [{ a: 1, b: undefined }, { b: undefined, a: 1 }],
  [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  [{ [Symbol.for("k")]: 1 }, { [Symbol.for("k")]: 1 }],
  [/a/g, /a/g],
  [new Date(5), new Date(5)],
  [new Date(NaN), new Date(NaN)],
  [new URL("https://a.test/b"), new URL("https://a.test/b")],
  [new Set([1, 2, 3]), new Set([3, 2, 1])],
  [new Set([{ a: 1 }, { b: 2 }]), new Set([{ b: 2 }, { a: 1 }])],
  [new Map([["a", [1]], ["b", [2]]]), new Map([["b", [2]], ["a", [1]]])],
  [new Map([[{ x: 1 }, true]]), new Map([[{ x: 1 }, true]])],
  [new Float32Array([1, NaN, 0]), new Float32Array([1, NaN, -0])],
  [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 2]).buffer],
  [new Point(1), new Point(1)],
  [ring, otherRing],
];

const DIFFERENT: [unknown, unknown][] = [
  [1, "1"],
  [1, 1n],
  [null, undefined],
  [null, {}],
  [[1, 2], [2, 1]],
  [[1], [1, 2]],
  [[], {}],
  [[1], new Uint8Array([1])],
  [{ a: 1 }, { a: 2 }],
  [{ a: undefined }, {}],
  [{ a: undefined }, { b: undefined }],
  [{ [Symbol("k")]: 1 }, { [Symbol("k")]: 1 }],
  [/a/g, /a/i],
  [new Date(5), new Date(6)],
  [new URL("https://a.test/b"), new URL("https://a.test/c")],
  [new Set([1, 2]), new Set([1, 2, 3])],
  [new Set([{ a: 1 }]), new Set([{ a: 2 }])],
  [new Map([["a", 1]]), new Map([["a", 2]])],
  [new Map([["a", 1]]), new Map([["b", 1]])],
  [new Float32Array([1, 2]), new Float32Array([1, 3])],
  [new Float32Array([1]), new Float64Array([1])],
  [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 3]).buffer],
  [new Point(1), { x: 1 }],
  [new Point(1, 2), new Point(1, 3)],
];

Deno.test("equal and assertEquals: what is equal and what differs", () => {
  for (const [a, b] of EQUAL) {
    if (!equal(a, b) || !equal(b, a)) throw new Error(`differ: ${Deno.inspect([a, b])}`);
    assertEquals(a, b);
  }
  for (const [a, b] of DIFFERENT) {
    if (equal(a, b) || equal(b, a)) throw new Error(`equal: ${Deno.inspect([a, b])}`);
    failure(() => assertEquals(a, b));
  }
});

Deno.test("assertEquals: the message shows both values and the note", () => {
  const { message } = failure(() => assertEquals({ left: 1 }, { left: 2 }, "sizes"));
  assert(message.startsWith("Values are not equal: sizes\n"), message);
  assert(message.includes("left: 1") && message.includes("left: 2"), message);
  assert(failure(() => assertEquals(1, 2)).message.startsWith("Values are not equal.\n"));
});

Deno.test("assertAlmostEquals: default and given tolerance", () => {
  assertAlmostEquals(0.1 + 0.2, 0.3);
  assertAlmostEquals(1e9 + 1, 1e9);
  assertAlmostEquals(NaN, NaN);
  assertAlmostEquals(Infinity, Infinity);
  assertAlmostEquals(1.5, 1, 0.5);
  failure(() => assertAlmostEquals(1e9 + 101, 1e9));
  failure(() => assertAlmostEquals(1e-9, 0));
  failure(() => assertAlmostEquals(1.5, 1, 0.4));
  failure(() => assertAlmostEquals(NaN, 1, Infinity));
  failure(() => assertAlmostEquals(Infinity, -Infinity));
  const { message } = failure(() => assertAlmostEquals(2, 1, 0.5, "loss"));
  assertEquals(
    message,
    'Expected actual: "2" to be close to "1": delta "1" is greater than "5e-1": loss',
  );
});

Deno.test("assertThrows: returns the error, checks class and message", () => {
  const thrown = new RangeError("too far");
  const fn = (): never => {
    throw thrown;
  };
  assert(assertThrows(fn) === thrown);
  assert(assertThrows(fn, RangeError, "far") === thrown);
  assert(assertThrows(fn, Error) === thrown);
  assertThrows(() => {
    throw "text";
  });
  assertEquals(failure(() => assertThrows(() => 1)).message, "Expected function to throw.");
  assertEquals(
    failure(() => assertThrows(() => 1, "note")).message,
    "Expected function to throw: note",
  );
  assertEquals(
    failure(() => assertThrows(fn, TypeError)).message,
    'Expected error to be instance of "TypeError", but was "RangeError".',
  );
  assertEquals(
    failure(() => assertThrows(fn, RangeError, "near")).message,
    'Expected error message to include "near", but got "too far".',
  );
  const text = failure(() =>
    assertThrows(() => {
      throw "text";
    }, Error)
  );
  assertEquals(text.message, "A non-Error object was thrown.");
});

Deno.test("assertRejects: resolves to the error, checks class and message", async () => {
  const thrown = new RangeError("too far");
  const fn = (): Promise<never> => Promise.reject(thrown);
  assert(await assertRejects(fn) === thrown);
  assert(await assertRejects(fn, RangeError, "far") === thrown);
  const messageOf = async (run: () => Promise<unknown>): Promise<string> =>
    (await asyncFailure(run)).message;
  assertEquals(
    await messageOf(() => assertRejects(() => Promise.resolve(1))),
    "Expected function to reject.",
  );
  assertEquals(
    await messageOf(() => assertRejects(fn, TypeError)),
    'Expected error to be instance of "TypeError", but was "RangeError".',
  );
  assertEquals(
    await messageOf(() =>
      assertRejects(() => {
        throw thrown;
      })
    ),
    "Function throws when expected to reject.",
  );
});

Deno.test({
  name: "path: as POSIX paths behave",
  ignore: Deno.build.os === "windows",
  fn: () => {
    assertEquals(SEPARATOR, "/");
    const basenames: [string, string | undefined, string][] = [
      ["d/f", undefined, "f"],
      ["d/f//", undefined, "f"],
      ["///a///", undefined, "a"],
      ["", undefined, ""],
      ["/", undefined, "/"],
      ["f.s", ".s", "f"],
      ["fs", "fs", "fs"],
      ["aaa/bbb", "bb", "b"],
      ["x/模型.pth", ".pth", "模型"],
    ];
    for (const [path, suffix, wanted] of basenames) assertEquals(basename(path, suffix), wanted);
    const dirnames = [["/a/b/", "/a"], ["/a", "/"], ["a", "."], ["", "."], ["a/b//c", "a/b"]];
    for (const [path, wanted] of dirnames) assertEquals(dirname(path!), wanted);
    const extnames = [["a.b.c", ".c"], [".bashrc", ""], ["a.", "."], ["a/b.x/", ".x"], ["", ""]];
    for (const [path, wanted] of extnames) assertEquals(extname(path!), wanted);
    const joins: [[string, ...string[]], string][] = [
      [[".", "x/b", "..", "/b/c.js"], "x/b/c.js"],
      [["/foo", "../../../bar"], "/bar"],
      [["foo", "../../../bar"], "../../bar"],
      [["foo/", ""], "foo/"],
      [["", ""], "."],
      [["a", "", "b"], "a/b"],
    ];
    for (const [parts, wanted] of joins) assertEquals(join(...parts), wanted);
    assertEquals(normalize("./a//b/../c/"), "a/c/");
    assertEquals(relative("/var/lib", "/var/apache"), "../apache");
    assertEquals(relative("/var/lib", "/var/lib"), "");
    assertEquals(resolve("/a/b", "../c", "./d"), "/a/c/d");
    assertEquals(resolve("/a", "/b"), "/b");
    assertEquals(resolve("x"), join(Deno.cwd(), "x"));
    assert(isAbsolute("/a") && !isAbsolute("a") && !isAbsolute(""));
  },
});

Deno.test({
  name: "path: file URLs",
  ignore: Deno.build.os === "windows",
  fn: () => {
    assertEquals(fromFileUrl("file:///home/foo%20bar"), "/home/foo bar");
    assertEquals(fromFileUrl(new URL("file:///C:/x")), "/C:/x");
    assertEquals(toFileUrl("/home/foo bar").href, "file:///home/foo%20bar");
    assertEquals(toFileUrl("/home/%20#?").pathname, "/home/%2520%23%3F");
    for (const path of ["/图/一.png", "/a b/100%.txt"]) {
      assertEquals(fromFileUrl(toFileUrl(path)), path);
    }
    assertThrows(() => fromFileUrl("https://a.test/b"), TypeError, 'received "https:"');
    assertThrows(() => toFileUrl("foo"), TypeError, 'Path must be absolute: received "foo"');
  },
});

/** `parseArgs` for any options, without the types that the real one infers from them. */
const parse: (args: string[], options?: Record<string, unknown>) => unknown = parseArgs;

Deno.test("parseArgs: text flags", () => {
  const string = ["a", "b"];
  assertEquals(parse(["--a", "x", "--b=y"], { string }), { a: "x", b: "y", _: [] });
  assertEquals(parse(["--a", "007"], { string }), { a: "007", _: [] });
  assertEquals(parse(["--a", "--b", "x"], { string }), { a: "", b: "x", _: [] });
  assertEquals(parse(["--a"], { string }), { a: "", _: [] });
  assertEquals(parse(["--a="], { string }), { a: "", _: [] });
  assertEquals(parse(["--a=x=y\nz"], { string }), { a: "x=y\nz", _: [] });
  assertEquals(parse(["--a", "x", "--a", "y"], { string }), { a: "y", _: [] });
  assertEquals(parse([], { string }), { _: [] });
});

Deno.test("parseArgs: flags without a value", () => {
  const boolean = ["f"];
  assertEquals(parse(["--f"], { boolean }), { f: true, _: [] });
  assertEquals(parse(["--f", "x"], { boolean }), { f: true, _: ["x"] });
  assertEquals(parse(["--f", "false"], { boolean }), { f: false, _: [] });
  assertEquals(parse(["--f=false"], { boolean }), { f: false, _: [] });
  assertEquals(parse(["--f=true"], { boolean }), { f: true, _: [] });
  assertEquals(parse([], { boolean }), { f: false, _: [] });
});

Deno.test("parseArgs: collected flags", () => {
  const options = { string: ["a", "b"], collect: ["a", "b"] };
  assertEquals(parse(["--a", "x", "--a=y"], options), { a: ["x", "y"], b: [], _: [] });
});

Deno.test("parseArgs: positional arguments, and numbers", () => {
  assertEquals(parse(["x", "5", "-"]), { _: ["x", 5, "-"] });
  assertEquals(parse(["5"], { string: ["_"] }), { _: ["5"] });
  assertEquals(parse(["--n", "5", "--", "--n", "6"], { string: ["_"] }), {
    n: 5,
    _: ["--n", "6"],
  });
  assertEquals(parse(["-h"]), { h: true, _: [] });
  assertEquals(parse(["-ab", "x"], { boolean: ["b"] }), { a: true, b: true, _: ["x"] });
  assertEquals(parse(["-ab", "x"]), { a: true, b: "x", _: [] });
});

Deno.test("parseArgs: what is not declared is reported, and left out on request", () => {
  const seen: unknown[][] = [];
  const unknown = (...args: unknown[]): boolean => {
    seen.push(args);
    return false;
  };
  const result = parse(["--a", "x", "--nope=1", "there"], { string: ["a"], unknown });
  assertEquals(result, { a: "x", _: [] });
  assertEquals(seen, [["--nope=1", "nope", "1"], ["there"]]);
});
