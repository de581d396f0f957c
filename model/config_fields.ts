/** Reading the fields of a `config.json`. */

import { FormatError } from "../kernels/runtime/errors.ts";

/** The fields of a JSON object. */
export function asObject(json: unknown, source: string): Record<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new FormatError(`${source} is not a JSON object.`);
  }
  return json as Record<string, unknown>;
}

/** A number, or `otherwise` where there is none. */
export function numberOf(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  otherwise: number,
): number {
  const value = fields[name] ?? otherwise;
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new FormatError(`${name} must be a number, not ${JSON.stringify(value)}.`);
  }
  return value;
}

/** Makes sure that fields are whole numbers of at least 1. */
export function requireWhole<C>(config: C, names: readonly (keyof C & string)[]): void {
  for (const name of names) {
    const value = config[name];
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      throw new FormatError(`${name} must be a whole number of at least 1, not ${value}.`);
    }
  }
}

/** Makes sure that a field is a multiple of another. */
export function requireMultiple<C>(
  config: C,
  whole: keyof C & string,
  part: keyof C & string,
): void {
  if (Number(config[whole]) % Number(config[part]) !== 0) {
    throw new FormatError(
      `${whole} ${config[whole]} is not a multiple of ${part} ${config[part]}.`,
    );
  }
}
