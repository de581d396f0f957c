/** Conversations to text, by the Jinja template that stands in a tokenizer's configuration. */

import { Template } from "@huggingface/jinja";
import { FormatError } from "../kernels/runtime/errors.ts";
import { pythonJson, type TemplateValue } from "./python_json.ts";

/** One turn of a conversation. Templates may read more fields: `tool_calls`, `reasoning_content`. */
export interface ChatMessage {
  /** `system`, `user`, `assistant` or `tool`. */
  role: string;
  /** The text of the turn. */
  content?: unknown;
  /** Whatever else the template reads. */
  [field: string]: unknown;
}

/** What a template is rendered with beside the messages. */
export interface ChatTemplateOptions {
  /** Whether to end with the opening of an assistant's turn. Default false. */
  addGenerationPrompt?: boolean;
  /** Descriptions of functions that the model may call, as JSON schemas. */
  tools?: readonly unknown[];
  /** Any other variable of the template, `enable_thinking` for one, under its own name. */
  [variable: string]: unknown;
}

/**
 * A chat template, rendered as transformers renders it: Jinja with trimmed blocks, and `tojson` as
 * Python's `json.dumps` writes (except that `1.0`, which JavaScript cannot tell from `1`, is `1`).
 *
 * @example
 * ```ts
 * import { byteTokenizer, ChatTemplate } from "@glimpse/vlm";
 *
 * const template = ChatTemplate.fromConfig(byteTokenizer().config);
 * template.render([{ role: "user", content: "Hi" }], { addGenerationPrompt: true });
 * ```
 */
export class ChatTemplate {
  readonly #template: Template;
  readonly #specialTokens: Record<string, string>;

  /**
   * Parses a template.
   *
   * @param template the Jinja source
   * @param specialTokens the variables that templates know them by: `bos_token`, `eos_token`, …
   * @throws FormatError with the place in the template where it is wrong
   */
  constructor(template: string, specialTokens: Record<string, string> = {}) {
    this.#specialTokens = specialTokens;
    this.#template = orFormatError(() => {
      const parsed = new Template(template);
      parsed.parsed = withPythonCalls(parsed.parsed);
      return parsed;
    });
  }

  /**
   * The template of a parsed `tokenizer_config.json`, with its special tokens.
   *
   * @throws FormatError where it has none
   */
  static fromConfig(config: unknown): ChatTemplate {
    const fields = Object.entries(config ?? {});
    const source = fields.find(([key]) => key === "chat_template")?.[1];
    if (typeof source !== "string") {
      throw new FormatError("tokenizer_config.json has no chat_template, or it is not one text.");
    }
    const tokens = fields.filter(([key]) => key.endsWith("_token")).map(([key, value]) =>
      [key, typeof value === "string" ? value : value?.content] as const
    ).filter(([, text]) => typeof text === "string");
    return new ChatTemplate(source, Object.fromEntries(tokens));
  }

  /**
   * The text of a conversation.
   *
   * @throws FormatError with the template's own message where it refuses the messages
   */
  render(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    const { addGenerationPrompt = false, tools = null, ...variables } = options;
    return orFormatError(() =>
      this.#template.render({
        ...this.#specialTokens,
        documents: null,
        ...variables,
        messages,
        tools,
        add_generation_prompt: addGenerationPrompt,
        ...PYTHON_CALLS,
      })
    );
  }
}

/** Python's methods and filters where `@huggingface/jinja` differs: it ignores `strip`'s argument. */
const PYTHON_CALLS = {
  __strip: (text: string, set?: string | null): string => stripStart(stripEnd(text, set), set),
  __lstrip: stripStart,
  __rstrip: stripEnd,
  __tojson: ([value]: [TemplateValue], options?: Map<string, TemplateValue>): string =>
    pythonJson(value, options),
};

function isStripped(character: string, set?: string | null): boolean {
  return set?.includes(character) ?? isSpace(character);
}

/** What Python's `str.isspace` holds for: White_Space, and the four separators of ASCII. */
function isSpace(character: string): boolean {
  return /\p{White_Space}/u.test(character) || (character >= "\x1c" && character <= "\x1f");
}

function stripStart(text: string, set?: string | null): string {
  const characters = [...text];
  const start = characters.findIndex((character) => !isStripped(character, set));
  return start < 0 ? "" : characters.slice(start).join("");
}

function stripEnd(text: string, set?: string | null): string {
  const characters = [...text];
  const last = characters.findLastIndex((character) => !isStripped(character, set));
  return characters.slice(0, last + 1).join("");
}

interface Node {
  type: string;
  [field: string]: unknown;
}

/** Sends `x.strip(c)`, `x | trim` and `x | tojson` to {@linkcode PYTHON_CALLS}, anywhere in a syntax tree. */
function withPythonCalls<T>(tree: T): T {
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(visit);
    if (value instanceof Map) return new Map([...value].map((pair) => pair.map(visit) as [0, 0]));
    if (typeof value !== "object" || value === null) return value;
    for (const [key, child] of Object.entries(value)) Reflect.set(value, key, visit(child));
    return pythonCall(value as Node);
  };
  return visit(tree) as T;
}

function pythonCall(node: Node): Node {
  if (node.type === "CallExpression") {
    const callee = node.callee as Node;
    const args = node.args as Node[];
    const name = (callee.property as Node | undefined)?.value;
    if (callee.type !== "MemberExpression" || args.length > 1) return node;
    if (name !== "strip" && name !== "lstrip" && name !== "rstrip") return node;
    return call(`__${name}`, [callee.object as Node, ...args]);
  }
  if (node.type === "FilterExpression") {
    const filter = node.filter as Node;
    const name = filter.type === "CallExpression" ? (filter.callee as Node).value : filter.value;
    if (name === "trim" && filter.type === "Identifier") {
      return call("__strip", [node.operand as Node]);
    }
    if (name !== "tojson") return node;
    // In a list the value keeps its kind: alone it would come as a bare JavaScript value.
    const operand = { type: "ArrayLiteral", value: [node.operand] };
    return call("__tojson", [operand, ...(filter.args as Node[] | undefined ?? [])]);
  }
  return node;
}

function call(name: string, args: Node[]): Node {
  return { type: "CallExpression", callee: { type: "Identifier", value: name }, args };
}

function orFormatError<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw new FormatError(`The chat template failed: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
