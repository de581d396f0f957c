import { assert, assertEquals } from "@std/assert";
import { integer } from "../cli/option_kinds.ts";
import { parseOptions } from "../cli/options.ts";
import { describeError, type Program, runProgram } from "../cli/program.ts";
import { FormatError, UsageError } from "../kernels/runtime/errors.ts";

const OPTIONS = { status: integer({ help: "What to end with.", default: 0 }) };

const PROGRAM: Program = {
  summary: "is a test.",
  version: "1.2.3",
  prefix: "try",
  help: "try it --help",
  commands: {
    end: {
      summary: "Ends.",
      load: () =>
        Promise.resolve({
          options: OPTIONS,
          run: (args) => Promise.resolve(parseOptions(OPTIONS, args).status),
        }),
    },
    fail: {
      summary: "Fails.",
      load: () =>
        Promise.resolve({
          options: {},
          run: () => Promise.reject(new FormatError("The file x.pth is truncated.")),
        }),
    },
    crash: {
      summary: "Crashes.",
      load: () => Promise.reject(new TypeError("x is undefined")),
    },
  },
};

/** What a run prints, and its exit status. */
async function run(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const { log, error } = console;
  const out: string[] = [];
  const err: string[] = [];
  console.log = (line: string) => void out.push(line);
  console.error = (line: string) => void err.push(line);
  try {
    return { status: await runProgram(PROGRAM, args), out: out.join("\n"), err: err.join("\n") };
  } finally {
    Object.assign(console, { log, error });
  }
}

Deno.test("a command gets its arguments and gives the exit status", async () => {
  assertEquals(await run("end"), { status: 0, out: "", err: "" });
  assertEquals(await run("end", "--status", "7"), { status: 7, out: "", err: "" });
});

Deno.test("help and version, of the program and of a command", async () => {
  const help = await run("--help");
  assertEquals(help.status, 0);
  assert(help.out.includes("\n  end                         Ends.\n"), help.out);
  assertEquals(await run(), help);
  assertEquals(await run("-h"), help);
  assertEquals(await run("--version"), { status: 0, out: "1.2.3", err: "" });
  const end = await run("end", "--status", "7", "--help");
  assertEquals(end.status, 0);
  assert(end.out.startsWith("Usage: try end [options]\n\nEnds.\n"), end.out);
  assert(end.out.includes("What to end with. (default: 0)"), end.out);
});

Deno.test("mistakes in the arguments end with 2 and point to the help", async () => {
  assertEquals(await run("edn"), {
    status: 2,
    out: "",
    err: "error: There is no command edn. Did you mean end?\nSee try it --help",
  });
  assertEquals((await run("constructor")).status, 2);
  assertEquals(await run("end", "--state", "1"), {
    status: 2,
    out: "",
    err: "error: There is no option --state. Did you mean --status?\nSee try end --help",
  });
});

Deno.test("errors that are foreseen are one sentence, others are bugs with a stack", async () => {
  assertEquals(await run("fail"), {
    status: 1,
    out: "",
    err: "error: The file x.pth is truncated.",
  });
  const crash = await run("crash");
  assertEquals(crash.status, 1);
  assert(crash.err.includes("This is a bug") && crash.err.includes("TypeError: x is undefined"));
  assert(crash.err.includes("program_test.ts"), "the stack is missing");
});

Deno.test("what the system refuses is no bug", async () => {
  const missing = await Deno.readTextFile("/no/such/file").catch((error: unknown) => error);
  const { text, status } = describeError(missing);
  assertEquals(status, 1);
  assertEquals(text, "error: Cannot read /no/such/file: it does not exist.");
  const here = new URL(import.meta.url).pathname;
  const file = await Deno.mkdir(`${here}/x`).catch((error: unknown) => error);
  const sentence = `error: Cannot make the folder ${here}/x: a part of its path is not a folder.`;
  assertEquals(describeError(file).text, sentence);
  const full = Object.assign(new Error("No space left on device (os error 28)"), {
    code: "ENOSPC",
  });
  assertEquals(
    describeError(full).text,
    "error: The disk is full; free some space and try again.",
  );
  const long = Object.assign(new Error("File name too long (os error 36)"), {
    code: "ENAMETOOLONG",
  });
  assertEquals(describeError(long).text, "error: Its name is too long.");
  const other = Object.assign(new Error("Too many links (os error 31)"), { code: "EMLINK" });
  assertEquals(describeError(other).text, "error: Too many links (os error 31)");
  const forbidden = new Deno.errors.NotCapable("Requires net access");
  assertEquals(describeError(forbidden), { text: "error: Requires net access", status: 1 });
  assertEquals(describeError(new UsageError("u")), { text: "error: u", status: 2 });
  assert(describeError("thrown text").text.includes("thrown text"));
});
