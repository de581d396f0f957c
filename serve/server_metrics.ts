import type { ServedModel } from "./app_options.ts";
import { type Counter, type Histogram, type Labels, Metrics } from "./metrics.ts";

/** What a server counts. */
export interface ServerMetrics {
  /** Requests by route and status. */
  readonly requests: Counter;
  /** Tokens of conversations. */
  readonly promptTokens: Counter;
  /** Tokens of answers. */
  readonly completionTokens: Counter;
  /** Answers that were broken off. */
  readonly cancelled: Counter;
  /** Seconds until something was answered. */
  readonly firstToken: Histogram;
  /** Seconds until all was answered. */
  readonly seconds: Histogram;
  /** All of it in Prometheus' text format. */
  text(): string;
}

const SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** The metrics of a server of some models. */
export function serverMetrics(models: readonly ServedModel[]): ServerMetrics {
  const metrics = new Metrics();
  const byModel = (read: (model: ServedModel) => number) => () =>
    models.map((model): [Labels, number] => [{ model: model.name }, read(model)]);
  const gauge = (name: string, help: string, read: (model: ServedModel) => number): void =>
    metrics.read("gauge", name, help, byModel(read));
  gauge("glimpse_running", "Answers being generated.", ({ engine }) => engine.running);
  gauge("glimpse_waiting", "Questions that wait.", ({ engine }) => engine.waiting);
  metrics.read(
    "counter",
    "glimpse_drawn_tokens_total",
    "Tokens drawn, also for answers that were broken off.",
    byModel(({ engine }) => engine.drawnTokens),
  );
  metrics.read("gauge", "glimpse_device_bytes", "Memory of the device, in use or kept.", () => {
    const memory = models[0]?.engine.model.vlm.gpu.memory;
    return memory ? [[{ kind: "live" }, memory.live], [{ kind: "pooled" }, memory.pooled]] : [];
  });
  const text = (): string => metrics.text();
  return {
    requests: metrics.counter("glimpse_requests_total", "Requests by route and status."),
    promptTokens: metrics.counter("glimpse_prompt_tokens_total", "Tokens of conversations."),
    completionTokens: metrics.counter("glimpse_completion_tokens_total", "Tokens of answers."),
    cancelled: metrics.counter("glimpse_cancelled_total", "Answers that were broken off."),
    firstToken: metrics.histogram(
      "glimpse_first_token_seconds",
      "Seconds from a request to the first of its answer.",
      SECONDS,
    ),
    seconds: metrics.histogram(
      "glimpse_answer_seconds",
      "Seconds from a request to the end of its answer.",
      SECONDS,
    ),
    text,
  };
}
