import { FormatError } from "../kernels/runtime/errors.ts";

/** Whether a value of JSON is an object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Parses an object in UTF-8 JSON and refuses what `JSON.parse` lets pass: a key that stands twice.
 *
 * @throws {FormatError} that names the file, if it is anything else.
 */
export function parseStrictJson(bytes: Uint8Array, name: string): Record<string, unknown> {
  let value: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    const why = cause instanceof SyntaxError ? cause.message : "it is not UTF-8 text";
    throw new FormatError(`${name} does not hold valid JSON: ${why}.`, { cause });
  }
  if (!isRecord(value)) throw new FormatError(`${name} holds JSON, but not an object.`);
  const key = duplicateKey(text);
  if (key !== undefined) {
    throw new FormatError(`${name} has the key ${JSON.stringify(key)} twice in one object.`);
  }
  return value;
}

/** The first key that stands twice in an object of a valid JSON text. */
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // an object's keys so far; nothing for an array
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{") open.push(new Set());
    else if (character === "[") open.push(undefined);
    else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const start = at++;
      while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
      let next = at + 1;
      while (" \t\r\n".includes(text[next] ?? "x")) next++;
      if (text[next] !== ":") continue;
      const key: string = JSON.parse(text.slice(start, at + 1));
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}
