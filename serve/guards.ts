import { bodyLimit } from "hono/body-limit";
import { createMiddleware } from "hono/factory";
import type { MiddlewareHandler } from "hono";
import { ApiError } from "./errors.ts";

/** Headers of every response: nothing is sniffed, framed, or sent on. */
export const safeHeaders: MiddlewareHandler = createMiddleware(async (c, next) => {
  await next();
  c.header("x-content-type-options", "nosniff");
  c.header("referrer-policy", "no-referrer");
  c.header("x-frame-options", "DENY");
  c.header("cross-origin-resource-policy", "same-origin");
});

/**
 * Refuses requests under names that this server does not have, which is how a foreign page would reach a server on this
 * machine (DNS rebinding).
 *
 * @param names Host names that are served; any unless given.
 */
export function knownHost(names: readonly string[] | undefined): MiddlewareHandler {
  return createMiddleware(async (c, next) => {
    const { hostname } = new URL(c.req.url);
    if (names && !names.includes(hostname)) {
      throw new ApiError(403, `This server does not answer under the name ${hostname}.`);
    }
    await next();
  });
}

/**
 * Lets pages of other origins read and send only when they are named.
 *
 * @param origins Origins such as `https://example.com`, or `*`.
 */
export function knownOrigin(origins: readonly string[]): MiddlewareHandler {
  return createMiddleware(async (c, next) => {
    const origin = c.req.header("origin");
    const own = new URL(c.req.url).host;
    const isOwn = origin === undefined || URL.parse(origin)?.host === own;
    const isNamed = origin !== undefined && (origins.includes("*") || origins.includes(origin));
    if (!isOwn && !isNamed && c.req.method !== "GET" && c.req.method !== "HEAD") {
      throw new ApiError(403, `Requests from ${origin} are not taken here.`, { code: "origin" });
    }
    if (c.req.method === "OPTIONS" && isNamed) {
      c.header("access-control-allow-methods", "GET, POST, DELETE");
      const asked = c.req.header("access-control-request-headers");
      c.header("access-control-allow-headers", asked ?? "authorization, content-type");
      c.header("access-control-max-age", "600");
      c.status(204);
      c.res = c.body(null);
    } else await next();
    if (isNamed) {
      c.res.headers.set("access-control-allow-origin", origin);
      c.res.headers.append("vary", "origin");
      c.res.headers.set("cross-origin-resource-policy", "cross-origin");
    }
  });
}

/** Asks for the key, if there is one: `Authorization: Bearer KEY`. */
export function keyGuard(key: string | undefined): MiddlewareHandler {
  const wanted = key === undefined ? undefined : digest(key);
  return createMiddleware(async (c, next) => {
    const [, given] = /^Bearer +(.+)$/i.exec(c.req.header("authorization") ?? "") ?? [];
    // digests are compared: how long that takes says nothing of the key
    if (wanted && (given === undefined || await digest(given) !== await wanted)) {
      const message = given === undefined
        ? "This server wants an API key: send the header Authorization: Bearer KEY."
        : "The API key is wrong.";
      throw new ApiError(401, message, { code: "invalid_api_key" });
    }
    await next();
  });
}

async function digest(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(bytes).join();
}

/** Refuses bodies that are too large, whatever their header says. */
export function bodyGuard(maxSize: number): MiddlewareHandler {
  return bodyLimit({
    maxSize,
    onError: () => {
      throw new ApiError(413, `A request must not have more than ${maxSize} bytes.`, {
        code: "request_too_large",
      });
    },
  });
}
