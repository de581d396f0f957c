import type { Hono } from "hono";
export function pageRoutes(hono: Hono): void {
  hono.get("/", (c) => c.html(""));
}
