import type { Hono } from "hono";
export function pageRoutes(_hono: Hono): void {}
