/**
 * `parseArgs` of `jsr:@std/cli`, with the options that Glimpse uses, for where JSR cannot be reached.
 *
 * @module
 */

/** How the arguments are read. */
export interface ParseOptions {
  /** Flags whose value stays text; `"_"` keeps positional arguments text too. */
  string?: readonly string[];
  /** Flags without a value (`--name`, `--name=false`, `--name false`). */
  boolean?: readonly string[];
  /** Flags of which every value is kept, in a list. */
  collect?: readonly string[];
  /** Called for each argument that is not declared; `false` leaves it out of the result. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** The flags by name, and the positional arguments as `_`. */
export interface Args {
  [name: string]: unknown;
  /** Positional arguments. */
  _: (string | number)[];
}

/**
 * Splits command-line arguments into flags and positional arguments. A flag is spelled `--name value`,
 * `--name=value` or `--name`; a text flag without a value is the empty text, any other `true`. An
 * undeclared value that looks like a number becomes one. Everything after `--` is positional.
 *
 * `-abc` is `--a --b --c`. Of the real one this leaves out values tied to such letters, aliases,
 * negation and dotted names.
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const strings = new Set(options.string);
  const booleans = new Set(options.boolean);
  const collected = new Set(options.collect);
  const unknown = options.unknown ?? (() => true);
  const result: Args = { _: [] };

  const set = (key: string, value: unknown, arg: string): void => {
    const declared = strings.has(key) || booleans.has(key) || collected.has(key);
    if (!declared && unknown(arg, key, value) === false) return;
    const read = strings.has(key) ? value : asNumber(value);
    const earlier = result[key];
    if (!collected.has(key)) result[key] = read;
    else if (Array.isArray(earlier)) earlier.push(read);
    else result[key] = [read];
  };

  const end = args.indexOf("--");
  const flags = end < 0 ? args : args.slice(0, end);
  for (let i = 0; i < flags.length; i++) {
    const arg = flags[i]!;
    const match = /^--?([^=]+)(?:=(.*))?$/s.exec(arg);
    if (match === null) {
      if (unknown(arg) !== false) result._.push(strings.has("_") ? arg : asNumber(arg) as string);
      continue;
    }
    const letters = arg.startsWith("--") ? [] : [...match[1]!];
    for (const letter of letters.slice(0, -1)) set(letter, strings.has(letter) ? "" : true, arg);
    const key = letters.at(-1) ?? match[1]!;
    const attached = match[2];
    const next = flags[i + 1];
    if (attached !== undefined) {
      set(key, booleans.has(key) ? attached !== "false" : attached, arg);
    } else if (booleans.has(key) ? next === "true" || next === "false" : isValue(next)) {
      set(key, booleans.has(key) ? next === "true" : next, arg);
      i++;
    } else {
      set(key, strings.has(key) ? "" : true, arg);
    }
  }
  if (end >= 0) result._.push(...args.slice(end + 1));

  for (const key of booleans) result[key] ??= collected.has(key) ? [] : false;
  for (const key of strings) if (collected.has(key)) result[key] ??= [];
  return result;
}

function isValue(next: string | undefined): next is string {
  return next !== undefined && next !== "" && !next.startsWith("-");
}

function asNumber(value: unknown): unknown {
  const number = typeof value === "string" && /\S/.test(value) ? Number(value) : NaN;
  return Number.isFinite(number) ? number : value;
}
