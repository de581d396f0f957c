/** How the page talks to the server: OpenAI's interface. */
export const API_SCRIPT: string = String.raw`
import { t } from "./words.js";

/** An error that the server told of. */
export class ApiFailure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers() {
  const key = sessionStorage.getItem("glimpse.key");
  return { "content-type": "application/json", ...(key && { authorization: "Bearer " + key }) };
}

async function request(path, init) {
  let response;
  try {
    response = await fetch(path, { ...init, headers: headers() });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiFailure(0, t("offline"));
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new ApiFailure(response.status, response.status === 401 ? t("needsKey") : body.error?.message ?? response.statusText);
}

/** The models that are served. */
export async function models() {
  return (await (await request("/v1/models")).json()).data;
}

/** The pieces of an answer as they come: { text, finish, usage }. */
export async function* answer(question, signal) {
  const body = JSON.stringify({ ...question, stream: true, stream_options: { include_usage: true } });
  const response = await request("/v1/chat/completions", { method: "POST", body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: ?/, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiFailure(500, chunk.error.message);
      const choice = chunk.choices[0];
      yield { text: choice?.delta.content ?? "", finish: choice?.finish_reason, usage: chunk.usage };
    }
  }
}
`;
