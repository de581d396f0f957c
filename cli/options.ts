/**
 * Command-line options from a typed table.
 *
 * @example
 * ```ts
 * import { integer, path } from "./option_kinds.ts";
 * import { parseOptions } from "./options.ts";
 *
 * const TABLE = {
 *   data_path: path({ help: "The samples.", default: "data.jsonl" }),
 *   batch_size: integer({ help: "Samples a step.", default: 16, min: 1 }),
 * };
 * const options = parseOptions(TABLE, ["--batch-size", "4"]);
 * console.log(options.batch_size, options.data_path); // 4 data.jsonl
 * ```
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../kernels/runtime/errors.ts";
import { suggestion } from "./nearest.ts";
import type { Option } from "./option_kinds.ts";

/** Options by name. Names are spelled with underscores; dashes are accepted as well. */
export type OptionTable = Readonly<Record<string, Option<unknown>>>;

/** What a table's options read. */
export type OptionValues<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends Option<infer V> ? V : never;
};

/**
 * Reads arguments after a table. Everything after `--` is positional.
 *
 * @throws {UsageError} A flag that is not in the table (the nearest is named), is repeated, lacks its
 * value or has one that does not fit; too many or too few positional arguments.
 */
export function parseOptions<T extends OptionTable>(
  table: T,
  args: readonly string[],
): OptionValues<T> {
  const flags = namesOf(table, false);
  const { _: given, ...found } = parseArgs(attachValues(table, args), {
    string: [...flags, "_"],
    collect: flags,
    unknown: (arg: string, key?: string) => key === undefined || reject(arg, table, flags),
  }) as { _: string[] } & Record<string, string[]>;

  const values: Record<string, unknown> = {};
  for (const name of flags) {
    values[name] = readFlag(`--${name}`, table[name]!, found[name] ?? []);
  }
  const places = namesOf(table, true);
  if (given.length > places.length) {
    throw new UsageError(`There is no place for the argument "${given[places.length]}".`);
  }
  places.forEach((name, i) => {
    const row = table[name]!;
    const value = given[i];
    if (value === undefined && row.default === undefined) {
      throw new UsageError(`The argument ${name.toUpperCase()} is missing.`);
    }
    values[name] = value === undefined ? row.default : row.parse(value, name.toUpperCase());
  });
  return values as OptionValues<T>;
}

/** Whether help was asked for, with `--help` or `-h` before any `--`. */
export function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === "--help" || arg === "-h");
}

function namesOf(table: OptionTable, positional: boolean): string[] {
  return Object.keys(table).filter((name) => table[name]!.positional === positional);
}

function reject(arg: string, table: OptionTable, flags: readonly string[]): never {
  const typed = arg.replace(/=.*$/s, "");
  const meant = `--${typed.replace(/^-+/, "").replaceAll("-", "_")}`;
  const name = meant.slice(2);
  if (Object.hasOwn(table, name) && table[name]!.positional) {
    throw new UsageError(
      `There is no option ${typed}: ${name.toUpperCase()} is given by its place.`,
    );
  }
  const names = ["--help", ...flags.map((name) => `--${name}`)];
  throw new UsageError(`There is no option ${typed}.${suggestion(meant, names)}`);
}

/**
 * Spells flags as the table does and ties to them with `=` the values that would be taken for something
 * else: a negative number, and the value of a switch that may stand alone.
 */
function attachValues(table: OptionTable, args: readonly string[]): string[] {
  const result: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") return [...result, ...args.slice(i)];
    const [, typed, attached] = /^--([^=]+)(=.*)?$/s.exec(arg) ?? [];
    const name = typed?.replaceAll("-", "_");
    const row = name === undefined || !Object.hasOwn(table, name) ? undefined : table[name];
    if (row === undefined || row.positional) {
      result.push(arg);
    } else if (attached !== undefined) {
      result.push(`--${name}${attached}`);
    } else {
      const next = args[i + 1] ?? "";
      const isValue = row.bare === undefined
        ? /^-[\d.]/.test(next)
        : /^(0|1|true|false)$/.test(next);
      result.push(isValue ? `--${name}=${next}` : `--${name}${row.bare ? `=${row.bare}` : ""}`);
      if (isValue) i++;
    }
  }
  return result;
}

function readFlag(name: string, row: Option<unknown>, given: readonly string[]): unknown {
  const [value] = given;
  if (row.repeats && given.length > 1) {
    return given.flatMap((value) => readFlag(name, row, [value]));
  }
  if (given.length > 1) {
    throw new UsageError(`${name} is given ${given.length} times; give it once.`);
  }
  if (value === undefined) return row.default;
  if (value === "") throw new UsageError(`${name} needs a value (${row.placeholder}).`);
  return row.parse(value, name);
}
