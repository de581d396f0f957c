import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { APP_DEFAULTS, type AppOptions, type ServedModel } from "./app_options.ts";
import { ChatRoute, engineOf } from "./chat_route.ts";
import type { Engine } from "./engine.ts";
import { ApiError, asApiError, stopping } from "./errors.ts";
import { fileRoutes } from "./file_routes.ts";
import { FileStore } from "./files.ts";
import { bodyGuard, keyGuard, knownHost, knownOrigin, safeHeaders } from "./guards.ts";
import { preparedPicture } from "./questions.ts";
import { type ServerMetrics, serverMetrics } from "./server_metrics.ts";
import { pageRoutes } from "./page.ts";

/** OpenAI's interface to some models, and a page to talk to them. */
export class App {
  /** Whether new questions are refused because the server is about to stop. */
  draining = false;
  readonly #models: ReadonlyMap<string, Engine>;
  readonly #options: AppOptions;
  readonly #metrics: ServerMetrics;
  readonly #hono: Hono;
  readonly #started = Math.floor(Date.now() / 1000);

  /** An interface to models, which stay their owner's. */
  constructor(models: readonly ServedModel[], options: Partial<AppOptions> = {}) {
    this.#models = new Map(models.map(({ name, engine }) => [name, engine]));
    this.#options = { ...APP_DEFAULTS, ...options };
    this.#metrics = serverMetrics(models);
    this.#hono = this.#routes();
  }

  /** Answers a request. */
  readonly fetch = async (request: Request): Promise<Response> => {
    const response = await this.#hono.fetch(request);
    const { pathname } = new URL(request.url);
    const route = ROUTES.find((route) => pathname === route || pathname.startsWith(`${route}/`));
    this.#metrics.requests.add(1, { route: route ?? "other", status: response.status });
    return response;
  };

  #routes(): Hono {
    const { apiKey, corsOrigins, hostNames, maxBodyBytes } = this.#options;
    const hono = new Hono();
    hono.onError((error, c) => {
      if (error instanceof HTTPException) return error.getResponse();
      const known = asApiError(error);
      if (known.status >= 500 && known !== error) this.#options.log(String(error.stack ?? error));
      if (known.retryAfter) c.header("retry-after", `${known.retryAfter}`);
      return c.json(known.body, known.status);
    });
    hono.notFound((c) => {
      const error = new ApiError(404, `There is no ${c.req.method} ${c.req.path} here.`);
      return c.json(error.body, 404);
    });
    hono.use(safeHeaders, knownHost(hostNames), knownOrigin(corsOrigins));
    hono.use("/v1/*", keyGuard(apiKey), bodyGuard(maxBodyBytes));
    hono.use("/metrics", keyGuard(apiKey));
    hono.get("/health", (c) => {
      const ok = !this.draining && [...this.#models.values()].every(({ fault }) => !fault);
      return c.json({ status: ok ? "ok" : this.draining ? "stopping" : "failed" }, ok ? 200 : 503);
    });
    hono.get("/metrics", (c) =>
      c.body(this.#metrics.text(), 200, {
        "content-type": "text/plain; version=0.0.4; charset=utf-8",
      }));
    hono.get("/v1/models", (c) =>
      c.json({
        object: "list",
        data: [...this.#models.keys()].map((name) => this.#modelObject(name)),
      }));
    hono.get("/v1/models/:name{.+}", (c) => c.json(this.#modelObject(c.req.param("name"))));
    const files = new FileStore(this.#options.fileBytes);
    const chat = new ChatRoute(this.#models, files, this.#options, this.#metrics);
    hono.post("/v1/chat/completions", async (c) => {
      if (!this.draining) return await chat.answer(c);
      throw stopping();
    });
    const [engine] = this.#models.values();
    fileRoutes(hono, {
      files,
      maxBytes: this.#options.maxImageBytes,
      check: async (bytes) => engine && await preparedPicture(engine, bytes, "file"),
    });
    pageRoutes(hono);
    return hono;
  }

  #modelObject(name: string): Record<string, unknown> {
    const engine = engineOf(this.#models, name);
    return {
      id: name,
      object: "model",
      created: this.#started,
      owned_by: "glimpse",
      context_length: engine.options.capacity,
      tokens_per_picture: engine.model.vlm.tokensPerPicture,
    };
  }
}

const ROUTES = ["/v1/chat/completions", "/v1/models", "/v1/files", "/health", "/metrics", "/page"];
