import * as v from "valibot";
import { ApiError } from "./errors.ts";

const between = (least: number, most: number) =>
  v.nullish(v.pipe(v.number(), v.minValue(least), v.maxValue(most)));
const whole = (least: number, most: number) =>
  v.nullish(v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most)));
/** A field of the interface that only has effect when it is left at its default. */
const unused = (schema: v.GenericSchema) =>
  v.nullish(
    v.pipe(v.unknown(), v.check((value) => v.is(schema, value), "is not supported")),
  );

const TEXT_PART = v.object({ type: v.literal("text"), text: v.string() });
const IMAGE_URL_PART = v.object({
  type: v.literal("image_url"),
  image_url: v.union([
    v.pipe(v.string(), v.transform((url) => ({ url }))),
    v.object({ url: v.string() }),
  ]),
});
const FILE_PART = v.object({
  type: v.literal("file"),
  file: v.union([v.object({ file_id: v.string() }), v.object({ file_data: v.string() })]),
});
const PART = v.variant("type", [TEXT_PART, IMAGE_URL_PART, FILE_PART]);
const CONTENT = v.union(
  [v.string(), v.pipe(v.array(PART), v.minLength(1))],
  "must be a text, or a list of parts of type text, image_url or file",
);

const MESSAGE = v.variant("role", [
  v.object({ role: v.picklist(["system", "developer"]), content: CONTENT }),
  v.object({ role: v.literal("user"), content: CONTENT }),
  v.object({ role: v.literal("assistant"), content: v.nullish(CONTENT) }),
]);

const FIELDS = v.object({
  model: v.string(),
  messages: v.pipe(v.array(MESSAGE), v.minLength(1), v.maxLength(1000)),
  stream: v.nullish(v.boolean()),
  stream_options: v.nullish(v.object({ include_usage: v.nullish(v.boolean()) })),
  temperature: between(0, 2),
  top_p: between(0, 1),
  top_k: whole(0, 1e6),
  min_p: between(0, 1),
  repetition_penalty: between(0.01, 100),
  presence_penalty: between(-2, 2),
  frequency_penalty: between(-2, 2),
  max_tokens: whole(1, 2 ** 31),
  max_completion_tokens: whole(1, 2 ** 31),
  stop: v.nullish(
    v.union(
      [v.string(), v.pipe(v.array(v.string()), v.maxLength(4))],
      "must be up to 4 texts",
    ),
  ),
  seed: v.nullish(v.pipe(v.number(), v.safeInteger())),
  n: whole(1, 16),
  logprobs: v.nullish(v.boolean()),
  top_logprobs: whole(0, 20),
  tools: unused(v.pipe(v.array(v.unknown()), v.maxLength(0))),
  tool_choice: unused(v.picklist(["none", "auto"])),
  logit_bias: unused(v.strictObject({})),
  response_format: unused(v.object({ type: v.literal("text") })),
});

const CHAT_REQUEST = v.pipe(
  FIELDS,
  v.forward(
    v.check(({ logprobs, top_logprobs }) => logprobs || !top_logprobs, "needs logprobs: true"),
    ["top_logprobs"],
  ),
);

/** A checked request for an answer. */
export type ChatRequest = v.InferOutput<typeof CHAT_REQUEST>;

/** A turn of it. */
export type RequestMessage = ChatRequest["messages"][number];

/** A part of a turn. */
export type RequestPart = v.InferOutput<typeof PART>;

/**
 * Checks the JSON of a request for an answer.
 *
 * @throws {ApiError} that names the parameter at fault.
 */
export function chatRequest(json: unknown): ChatRequest {
  const { success, output, issues } = v.safeParse(CHAT_REQUEST, json, { abortEarly: true });
  if (success) return output;
  const [issue] = issues;
  const param = v.getDotPath(issue) ?? undefined;
  const message = `${param ?? "The request"} ${fault(issue)}.`;
  throw new ApiError(400, message, { param, code: "invalid_value" });
}

/** What valibot expects, in words. */
const WORDS: Readonly<Record<string, string>> = {
  Array: "a list",
  Object: "an object",
  boolean: "true or false",
  number: "a number",
  string: "a text",
};

/** What is wrong with a value, said after its name. */
function fault(
  { kind, type, expected, received, requirement, message }: v.BaseIssue<unknown>,
): string {
  if (received === "undefined") return "is missing";
  if (!message.startsWith("Invalid ")) return message; // one of ours
  if (kind === "schema" && expected !== null) {
    const names = expected.replace(/[()"]/g, "").split(" | ").map((name) => WORDS[name] ?? name);
    return `must be ${names.join(" or ")}, not ${received}`;
  }
  switch (type) {
    case "integer":
    case "safe_integer":
      return `must be a whole number, not ${received}`;
    case "min_length":
    case "max_length":
      return `must have at ${
        type === "min_length" ? "least" : "most"
      } ${requirement} entries, not ${received}`;
    default:
      return `must be at ${
        type === "min_value" ? "least" : "most"
      } ${requirement}, not ${received}`;
  }
}
