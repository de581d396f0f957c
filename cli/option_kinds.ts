/** The kinds of command-line options: how each reads its text, and what it is called in `--help`. */

import { UsageError } from "../kernels/runtime/errors.ts";
import { WEIGHT_ENDING } from "../train/settings.ts";

/** What is said about an option, whatever its kind. `D` is the type of its default. */
export interface OptionSpec<D> {
  /** One sentence for `--help`. */
  help: string;
  /** The heading under which `--help` shows it. */
  section?: string;
  /** The value where the option is not given; without one that is `undefined`. */
  default?: D;
  /** What `--help` says of the default where the value does not say it ("read from the weights"). */
  defaultText?: string;
}

/** One row of a table of options: reads a `T`. */
export interface Option<T> {
  /** What stands for the value in `--help`; empty where the option needs none. */
  readonly placeholder: string;
  /** One sentence for `--help`. */
  readonly help: string;
  /** The heading under which `--help` shows it. */
  readonly section: string;
  /** The value where the option is not given. */
  readonly default: T;
  /** The default in words. */
  readonly defaultText: string;
  /** Whether it is given by its place instead of `--name`; without a default it has to be given. */
  readonly positional: boolean;
  /** Whether it may be given several times: what they read, which are lists, is joined. */
  readonly repeats?: boolean;
  /** The value where the option is given without one (a flag); `undefined` makes that an error. */
  readonly bare?: string;
  /**
   * Reads the value.
   *
   * @param text What was typed.
   * @param name The option as typed, for the error.
   * @throws {UsageError} The text is no such value.
   */
  parse(text: string, name: string): T;
}

function option<T, D extends T | undefined>(
  placeholder: string,
  spec: OptionSpec<D>,
  parse: (text: string, name: string) => T,
  showDefault: (value: T) => string = String,
): Option<T | D> {
  const { help, section = "Options", defaultText } = spec;
  const value = spec.default as T | D;
  return {
    placeholder,
    help,
    section,
    default: value,
    defaultText: defaultText ?? (value === undefined ? "" : showDefault(value as T)),
    positional: false,
    parse,
  };
}

/** Text, taken as it is. */
export function text<D extends string | undefined>(
  spec: OptionSpec<D> & { placeholder?: string },
): Option<string | D> {
  return option<string, D>(spec.placeholder ?? "TEXT", spec, (value) => value);
}

/** A name for what is written, to which folder and ending are added, and which does not lead out of that folder. */
export function fileName<D extends string | undefined>(spec: OptionSpec<D>): Option<string | D> {
  return option<string, D>("NAME", spec, (value, name) => {
    if (!/^\s*$|^\.\.?$|[\\/\p{Cc}]/u.test(value) && !WEIGHT_ENDING.test(value)) return value;
    throw new UsageError(
      `${name} must be a name without folder and ending, but is ${JSON.stringify(value)}.`,
    );
  });
}

/** The path of a file or folder. */
export function path<D extends string | undefined>(spec: OptionSpec<D>): Option<string | D> {
  return option<string, D>("PATH", spec, (value, name) => {
    if (value === "") throw new UsageError(`${name} must name a path, but is empty.`);
    return value;
  });
}

/** The ends of a range, both inclusive unless said otherwise. */
export interface NumberRange {
  /** The least value. */
  min?: number;
  /** The greatest value. */
  max?: number;
}

/** A whole number within a range. */
export function integer<D extends number | undefined>(
  spec: OptionSpec<D> & NumberRange,
): Option<number | D> {
  return option<number, D>("N", spec, (value, name) => {
    const number = /^[+-]?\d+$/.test(value) ? Number(value) : NaN;
    return inRange(number, Number.isSafeInteger(number), value, name, "a whole number", spec);
  });
}

/** A number within a range; above `min` itself where `aboveMin` says so. */
export function number<D extends number | undefined>(
  spec: OptionSpec<D> & NumberRange & { aboveMin?: boolean },
): Option<number | D> {
  return option<number, D>("X", spec, (value, name) => {
    const number = value.trim() === "" ? NaN : Number(value);
    return inRange(number, Number.isFinite(number), value, name, "a number", spec);
  });
}

function inRange(
  number: number,
  valid: boolean,
  value: string,
  name: string,
  what: string,
  { min = -Infinity, max = Infinity, aboveMin = false }: NumberRange & { aboveMin?: boolean },
): number {
  const fits = number <= max && (aboveMin ? number > min : number >= min);
  if (valid && fits) return number;
  const lower = min === -Infinity ? [] : [aboveMin ? `above ${min}` : `of at least ${min}`];
  const upper = max === Infinity ? [] : [`of at most ${max}`];
  const range = [...lower, ...upper].join(" and ");
  throw new UsageError(`${name} must be ${what}${range && ` ${range}`}, but is "${value}".`);
}

const YES_OR_NO: Record<string, boolean> = { "1": true, true: true, "0": false, false: false };

function yesOrNo(value: string, name: string): boolean {
  const found = Object.hasOwn(YES_OR_NO, value) ? YES_OR_NO[value] : undefined;
  if (found === undefined) throw new UsageError(`${name} must be 0 or 1, but is "${value}".`);
  return found;
}

/** A switch that is on where it is given; `--name 0` and `--name=false` turn it off. */
export function flag(spec: OptionSpec<boolean>): Option<boolean> {
  return { ...option("", { default: false, ...spec }, yesOrNo, () => ""), bare: "1" };
}

/** A switch that needs its value: 0 or 1. */
export function zeroOrOne<D extends boolean | undefined>(
  spec: OptionSpec<D>,
): Option<boolean | D> {
  return option<boolean, D>("0|1", spec, yesOrNo, (value) => value ? "1" : "0");
}

/** One of a few words. */
export function choice<const C extends string, const D extends C | undefined>(
  choices: readonly C[],
  spec: OptionSpec<D>,
): Option<C | D> {
  return option<C, D>(choices.join("|"), spec, (value, name) => {
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    throw new UsageError(`${name} must be one of ${choices.join(", ")}, but is "${value}".`);
  });
}

/** Texts with commas between them; spaces around them do not count. */
export function list<D extends readonly string[] | undefined>(
  spec: OptionSpec<D> & { placeholder?: string },
): Option<readonly string[] | D> {
  return option<readonly string[], D>(
    spec.placeholder ?? "A,B",
    spec,
    (value) => value.split(",").map((part) => part.trim()).filter((part) => part !== ""),
    (value) => value.join(","),
  );
}

/** Paths of files, each given by an option of its own: `--image a.png --image b.png`. */
export function paths(spec: OptionSpec<readonly string[]>): Option<readonly string[]> {
  const one = (value: string, name: string): readonly string[] => {
    if (value === "") throw new UsageError(`${name} must name a path, but is empty.`);
    return [value];
  };
  const row = option<readonly string[], readonly string[]>(
    "PATH",
    { default: [], ...spec },
    one,
    (value) => value.join(" "),
  );
  return { ...row, repeats: true };
}

/** Makes an option one that is given by its place; without a default it has to be given. */
export function positional<T>(row: Option<T>): Option<Exclude<T, undefined>> {
  return { ...row, positional: true } as Option<Exclude<T, undefined>>;
}
