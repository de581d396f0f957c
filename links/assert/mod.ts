/**
 * The assertions of `jsr:@std/assert` that Glimpse uses, for where JSR cannot be reached.
 *
 * @module
 */

import { inspect, stripVTControlCharacters } from "node:util";
import { equal } from "./equal.ts";

export { equal };

/** Thrown when an assertion does not hold. */
export class AssertionError extends Error {
  /**
   * @param message What does not hold.
   * @param options The cause, if another error made it so.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

/** A class of errors, as `assertThrows` and `assertRejects` take it. */
export type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

const ending = (msg?: string): string => msg ? `: ${msg}` : ".";

/** Asserts that `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Asserts that two values are deeply equal (see {@linkcode equal}). */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  const show = (value: unknown, sign: string): string =>
    inspect(value, { depth: 8, breakLength: 100 }).replace(/^/gm, sign);
  throw new AssertionError(
    `Values are not equal${ending(msg)}\n\n    [Diff] Actual / Expected\n\n` +
      `${show(actual, "-   ")}\n${show(expected, "+   ")}\n`,
  );
}

/** Asserts that two numbers differ by at most `tolerance` (by default `1e-7` of the expected one). */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance: number = Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7,
  msg?: string,
): void {
  const delta = Math.abs(expected - actual);
  if (Object.is(actual, expected) || delta <= tolerance) return;
  const show = (n: number): string => Number.isInteger(n) ? `${n}` : n.toExponential();
  throw new AssertionError(
    `Expected actual: "${show(actual)}" to be close to "${show(expected)}": ` +
      `delta "${show(delta)}" is greater than "${show(tolerance)}"${ending(msg)}`,
  );
}

/**
 * Asserts that `fn` throws; where a class is given, an error of that class (or a subclass) whose
 * message includes `msgIncludes`. Returns what was thrown.
 */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Asserts that `fn` throws an error of a class, and returns it. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(
  fn: () => unknown,
  classOrMsg?: ErrorClass<Error> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const note = typeof classOrMsg === "string" ? classOrMsg : msg;
  try {
    fn();
  } catch (error) {
    checkError(error, classOrMsg, msgIncludes, `thrown${ending(note)}`, note);
    return error;
  }
  throw new AssertionError(`Expected function to throw${ending(note)}`);
}

/**
 * Asserts that the promise which `fn` returns is rejected; where a class is given, with an error of
 * that class (or a subclass) whose message includes `msgIncludes`. Resolves to what it was rejected
 * with. A function that throws before it returns a promise fails the assertion.
 */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Asserts that a promise is rejected with an error of a class, and resolves to that error. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: ErrorClass<Error> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const note = typeof classOrMsg === "string" ? classOrMsg : msg;
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
    if (typeof promise?.then !== "function") throw new TypeError("no promise");
  } catch {
    throw new AssertionError(`Function throws when expected to reject${ending(note)}`);
  }
  try {
    await promise;
  } catch (error) {
    checkError(error, classOrMsg, msgIncludes, `rejected${ending(note)}`, note);
    return error;
  }
  throw new AssertionError(`Expected function to reject${ending(note)}`);
}

function checkError(
  error: unknown,
  classOrMsg: ErrorClass<Error> | string | undefined,
  msgIncludes: string | undefined,
  how: string,
  note: string | undefined,
): void {
  if (typeof classOrMsg !== "function") return;
  if (!(error instanceof Error)) throw new AssertionError(`A non-Error object was ${how}`);
  const isOne: boolean = error instanceof classOrMsg;
  if (!isOne) {
    throw new AssertionError(
      `Expected error to be instance of "${classOrMsg.name}", ` +
        `but was "${error.constructor.name}"${ending(note)}`,
    );
  }
  if (msgIncludes && !stripVTControlCharacters(error.message).includes(msgIncludes)) {
    throw new AssertionError(
      `Expected error message to include ${JSON.stringify(msgIncludes)}, ` +
        `but got ${JSON.stringify(error.message)}${ending(note)}`,
    );
  }
}
