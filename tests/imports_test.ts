/** The house's order: a room stands above all that it imports, and the core needs no Deno. */

import { assert, assertEquals } from "@std/assert";
import { dirname, fromFileUrl, join, normalize } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/** The rooms and, below each, what it may import besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "kernels/runtime": [],
  kernels: ["kernels/runtime"],
  model: ["kernels", "kernels/runtime"],
  data: ["model", "kernels", "kernels/runtime"],
  train: ["data", "model", "kernels", "kernels/runtime"],
  serve: ["data", "model", "kernels", "kernels/runtime"],
  cli: ["train", "serve", "data", "model", "kernels", "kernels/runtime"],
  "": ["cli", "train", "serve", "data", "model", "kernels", "kernels/runtime"],
};

/** The rooms that use web standards alone. */
const CORE = ["kernels/runtime", "kernels", "model"];

/** The room that a file of the repository stands in: the nearest one above it. */
function roomOf(path: string): string {
  for (let folder = dirname(path); folder !== "."; folder = dirname(folder)) {
    if (folder in MAY_IMPORT) return folder;
    if (folder === "..") break;
  }
  return path.includes("/") ? "elsewhere" : "";
}

function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

/** What a module names after `from`, `import`, `import(…)` or `new URL(…)`. */
function importsOf(source: string): string[] {
  const named = /(?:\bfrom|\bimport|\bimport\s*\(|\bnew URL\()\s*"([^"]+)"/g;
  return [...withoutComments(source).matchAll(named)].map((match) => match[1]!);
}

/** Why a file must not import what it imports, if so. */
function complaints(path: string, source: string): string[] {
  const room = roomOf(path);
  const upward = importsOf(source).filter((name) => /^\.\.?\/.*\.ts$/.test(name)).flatMap(
    (name) => {
      const target = normalize(join(dirname(path), name));
      const to = roomOf(target);
      const isFine = to === room || MAY_IMPORT[room]!.includes(to);
      return isFine ? [] : [`${path} imports ${target}`];
    },
  );
  if (!CORE.includes(room)) return upward;
  const host = /\bDeno\.\w+|["']node:|["'](?:npm:)?sharp["']/.exec(withoutComments(source));
  return host === null ? upward : [...upward, `${path} uses ${host[0]}`];
}

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(join(ROOT, folder))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* sources(path);
    else if (/\.ts$/.test(entry.name)) yield path;
  }
}

/** All modules of the rooms and of the top level. */
async function houseSources(): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(ROOT)) {
    if (entry.isFile && entry.name.endsWith(".ts")) found.push(entry.name);
    else if (entry.isDirectory && entry.name in MAY_IMPORT) {
      found.push(...await Array.fromAsync(sources(entry.name)));
    }
  }
  return found;
}

Deno.test("nothing is imported upward, and the core names no host", async () => {
  const paths = await houseSources();
  for (const room of ["kernels/runtime", "kernels", "model", "data", "train", "cli", ""]) {
    assert(paths.some((path) => roomOf(path) === room), `no module in the room "${room}"`);
  }
  const found = await Promise.all(
    paths.map(async (path) => complaints(path, await Deno.readTextFile(join(ROOT, path)))),
  );
  assertEquals(found.flat(), []);
});

Deno.test("the rule sees what breaks it", () => {
  assertEquals(complaints("kernels/a.ts", `import { B } from "../model/b.ts";`), [
    "kernels/a.ts imports model/b.ts",
  ]);
  assertEquals(complaints("kernels/runtime/a.ts", `export * from "../b.ts";`), [
    "kernels/runtime/a.ts imports kernels/b.ts",
  ]);
  assertEquals(
    complaints("kernels/matmul/a.ts", `import "../runtime/b.ts"; import "../c.ts";`),
    [],
  );
  assertEquals(complaints("train/a.ts", `await import("../serve/b.ts")`), [
    "train/a.ts imports serve/b.ts",
  ]);
  assertEquals(complaints("data/a.ts", `new URL("../tests/b.ts", import.meta.url)`), [
    "data/a.ts imports tests/b.ts",
  ]);
  assertEquals(complaints("data/a.ts", `import "../../outside.ts"`), [
    "data/a.ts imports ../outside.ts",
  ]);
  assertEquals(complaints("model/a.ts", `/** import "../data/b.ts", Deno.args */\nlet a = 1;`), []);
  assertEquals(complaints("model/a.ts", "Deno.args;"), ["model/a.ts uses Deno.args"]);
  assertEquals(complaints("model/a.ts", `import "node:fs";`), [`model/a.ts uses "node:`]);
  assertEquals(complaints("data/a.ts", `import "node:fs"; Deno.args; import "../model/b.ts";`), []);
  assertEquals(complaints("cli.ts", `import("./cli/a.ts"); import "./train/b.ts";`), []);
});

Deno.test("every file stands in a room", () => {
  assertEquals(roomOf("kernels/runtime/gpu.ts"), "kernels/runtime");
  assertEquals(roomOf("kernels/matmul/tiled.ts"), "kernels");
  assertEquals(roomOf("mod.ts"), "");
  assertEquals(roomOf("tests/support/gpu.ts"), "elsewhere");
});
