import { assertEquals } from "@std/assert";
import { compileLine } from "../data/open_gpu.ts";

Deno.test("a terminal tells of compiling behind what stands there, and takes it back", () => {
  let screen = "";
  const line = compileLine(true, (text) => screen += text);
  line();
  assertEquals(screen, "");
  line({ name: "a", number: 1 });
  line({ name: "b", number: 2, of: 3 });
  line();
  line();
  const [save, restore] = ["\x1b7", "\x1b8\x1b[J"];
  const [first, second] = ["compiling kernel 1: a", "compiling kernel 2 of 3: b"]
    .map((text) => `\x1b[?7l${text}\x1b[?7h`);
  assertEquals(screen, `${save}${first}${restore}${second}${restore}`);
});

Deno.test("a file is told of compiling that lasts, every ten seconds", () => {
  const lines: string[] = [];
  let seconds = 0;
  const line = compileLine(false, (text) => lines.push(text.trim()), () => 1000 * seconds);
  const compile = (at: number) => {
    seconds = at;
    line({ name: `at ${at}`, number: at });
  };
  [0, 1, 3, 5, 12, 14].forEach(compile);
  line();
  [20, 21, 23].forEach(compile);
  assertEquals(lines, [3, 14, 23].map((at) => `compiling kernel ${at}: at ${at}`));
});
