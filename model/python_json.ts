/** JSON as Python's `json.dumps` writes it, from the values that a chat template handles. */

/** A value in a running template, of `@huggingface/jinja`. */
export interface TemplateValue {
  /** The kind: `StringValue`, `IntegerValue`, `FloatValue`, `ObjectValue`, … */
  type: string;
  /** A JavaScript value; of lists and objects an array or a `Map` of more such values. */
  value: unknown;
}

/**
 * A float as Python's `repr` writes it: shortest digits, an exponent below 1e-4 and from 1e16 on.
 *
 * @example
 * ```ts
 * import { pythonFloat } from "./python_json.ts";
 *
 * pythonFloat(0.00001); // "1e-05"
 * ```
 */
export function pythonFloat(x: number): string {
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x < 0 ? "-Infinity" : "Infinity";
  const [digits = "", power = ""] = x.toExponential().split("e");
  const exponent = Number(power);
  if (x !== 0 && (exponent < -4 || exponent >= 16)) {
    const sign = exponent < 0 ? "-" : "+";
    return `${digits}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const text = Object.is(x, -0) ? "-0" : String(x);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/**
 * `json.dumps(value, ensure_ascii=False, **options)`, as the filter `tojson` of transformers' chat
 * templates calls it; `options` are those that the template gave: `indent`, `separators`,
 * `sort_keys`, `ensure_ascii`.
 */
export function pythonJson(value: TemplateValue, options?: Map<string, TemplateValue>): string {
  const option = (name: string): unknown => options?.get(name)?.value ?? undefined;
  const indent = option("indent");
  const separators = option("separators") as TemplateValue[] | undefined;
  const [comma, colon] = (separators ?? []).map((separator) => String(separator.value));
  const itemSeparator = comma ?? (indent === undefined ? ", " : ",");
  const keySeparator = colon ?? ": ";
  const unit = " ".repeat(Math.max(0, Number(indent ?? 0)));

  const string = (text: string): string => {
    const quoted = JSON.stringify(text);
    return option("ensure_ascii") === true ? quoted.replace(/[\x7f-\uffff]/g, escaped) : quoted;
  };
  const wrap = (open: string, items: string[], close: string, depth: number): string => {
    if (items.length === 0 || indent === undefined) return open + items.join(itemSeparator) + close;
    const margin = "\n" + unit.repeat(depth);
    return open + margin + unit + items.join(itemSeparator + margin + unit) + margin + close;
  };
  const write = ({ type, value }: TemplateValue, depth: number): string => {
    if (typeof value === "string") return string(value);
    if (typeof value === "boolean") return String(value);
    if (typeof value === "number") {
      const float = type === "FloatValue" || Math.abs(value) >= 1e21;
      return float ? pythonFloat(value) : String(value);
    }
    if (Array.isArray(value)) {
      return wrap("[", value.map((item) => write(item, depth + 1)), "]", depth);
    }
    if (value instanceof Map) {
      const entries: [string, TemplateValue][] = [...value];
      if (option("sort_keys") === true) entries.sort(([a], [b]) => byCodePoint(a, b));
      const items = entries.map(([key, item]) =>
        string(key) + keySeparator + write(item, depth + 1)
      );
      return wrap("{", items, "}", depth);
    }
    if (value === null || value === undefined) return "null";
    throw new TypeError(`a ${type} cannot be written as JSON`);
  };
  return write(value, 0);
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function byCodePoint(a: string, b: string): number {
  const [x, y] = [[...a], [...b]];
  const at = x.findIndex((character, i) => character !== y[i]);
  if (at < 0) return x.length - y.length;
  return x[at]!.codePointAt(0)! - (y[at]?.codePointAt(0) ?? -1);
}
