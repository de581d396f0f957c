/** What tests take of Deno, for a page: tests are kept until they are asked for, files come from the page's server. */

/** A test of a page. */
export interface PageTest {
  /** What it shows. */
  name: string;
  /** Throws where it does not. */
  fn: () => unknown;
}

const tests: PageTest[] = [];

function test(given: PageTest | string, fn?: () => unknown): void {
  tests.push(typeof given === "string" ? { name: given, fn: fn! } : given);
}

Object.assign(globalThis, {
  Deno: {
    test: Object.assign(test, { afterAll: () => {} }),
    env: { get: () => undefined },
    readTextFile: async (url: URL) => await (await fetch(url)).text(),
    readFile: async (url: URL) => new Uint8Array(await (await fetch(url)).arrayBuffer()),
  },
  tests,
});
