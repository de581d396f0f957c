/** What the assertions take of `node:util`, for a browser. */

/** A value as text. */
export function inspect(value: unknown): string {
  return JSON.stringify(value, (_, x) => ArrayBuffer.isView(x) ? [...x as Float32Array] : x) ??
    String(value);
}

/** The text itself: nothing is coloured here. */
export function stripVTControlCharacters(text: string): string {
  return text;
}

/** Kinds of objects. */
export const types = {
  isTypedArray: (value: unknown): value is Float32Array =>
    ArrayBuffer.isView(value) && !(value instanceof DataView),
  isAnyArrayBuffer: (value: unknown): value is ArrayBuffer => value instanceof ArrayBuffer,
};
