import type { Hono } from "hono";
import { API_SCRIPT } from "./page/api_script.ts";
import { APP_SCRIPT } from "./page/app_script.ts";
import { DIALOG_SCRIPT } from "./page/dialog_script.ts";
import { EXAMPLES_SCRIPT } from "./page/examples_script.ts";
import { HTML } from "./page/html.ts";
import { ICON } from "./page/icon.ts";
import { PICTURES_SCRIPT } from "./page/pictures_script.ts";
import { STYLE } from "./page/style.ts";
import { VIEW_SCRIPT } from "./page/view_script.ts";
import { WORDS_SCRIPT } from "./page/words_script.ts";

/** Nothing from elsewhere, nothing inline, and nobody frames it. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

const SCRIPT = "text/javascript; charset=utf-8";

const FILES: Readonly<Record<string, readonly [type: string, content: string]>> = {
  "/": ["text/html; charset=utf-8", HTML],
  "/page/style.css": ["text/css; charset=utf-8", STYLE],
  "/page/icon.svg": ["image/svg+xml", ICON],
  "/page/app.js": [SCRIPT, APP_SCRIPT],
  "/page/api.js": [SCRIPT, API_SCRIPT],
  "/page/dialog.js": [SCRIPT, DIALOG_SCRIPT],
  "/page/examples.js": [SCRIPT, EXAMPLES_SCRIPT],
  "/page/pictures.js": [SCRIPT, PICTURES_SCRIPT],
  "/page/view.js": [SCRIPT, VIEW_SCRIPT],
  "/page/words.js": [SCRIPT, WORDS_SCRIPT],
};

/** Adds the page: at `/`, and what it consists of below `/page/`. */
export function pageRoutes(hono: Hono): void {
  for (const [path, [type, content]] of Object.entries(FILES)) {
    hono.get(path, (c) =>
      c.body(content, 200, {
        "content-type": type,
        "content-security-policy": POLICY,
        "cache-control": "no-cache",
      }));
  }
}
