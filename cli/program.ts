/** What every command line of Glimpse does: help, errors in a sentence, an exit status. */

import { systemErrorText } from "../data/files.ts";
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import { entry, helpText } from "./help_text.ts";
import { suggestion } from "./nearest.ts";
import { asksForHelp, type OptionTable } from "./options.ts";

/** A command's own module. */
export interface Command {
  /** Its options, for `--help`. */
  readonly options: OptionTable;
  /** Does the work and resolves to the exit status. */
  run(args: readonly string[]): Promise<number>;
}

/** What is known of a command before its module is loaded. */
export interface CommandEntry {
  /** What it does, in a sentence. */
  readonly summary: string;
  /** Loads its module. */
  load(): Promise<Command>;
}

/** A program of several commands. */
export interface Program {
  /** What it is, in a sentence. */
  readonly summary: string;
  /** Its version. */
  readonly version: string;
  /** What is typed before a command's name (`deno task`). */
  readonly prefix: string;
  /** What is typed to see the help of the program itself. */
  readonly help: string;
  /** Its commands by name. */
  readonly commands: Readonly<Record<string, CommandEntry>>;
}

/**
 * Runs the command that the arguments name and resolves to the exit status: the command's own, 2 for
 * a mistake in the arguments, 1 for any other error. Errors are printed.
 */
export async function runProgram(program: Program, args: readonly string[]): Promise<number> {
  const [name = "--help", ...rest] = args;
  if (name === "--help" || name === "-h") {
    console.log(programHelp(program));
    return 0;
  }
  if (name === "--version") {
    console.log(program.version);
    return 0;
  }
  const { prefix, commands } = program;
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command !== undefined) return await runCommand(`${prefix} ${name}`, command, rest);
  const hint = suggestion(name, Object.keys(commands));
  return report(new UsageError(`There is no command ${name}.${hint}`), program.help);
}

/**
 * Runs one command and resolves to the exit status, as {@linkcode runProgram} does.
 *
 * @param typed What is typed to run it (`deno task pretrain`).
 */
export async function runCommand(
  typed: string,
  { summary, load }: CommandEntry,
  args: readonly string[],
): Promise<number> {
  try {
    const { options, run } = await load();
    if (!asksForHelp(args)) return await run(args);
    console.log(helpText(typed, summary, options));
    return 0;
  } catch (error) {
    return report(error, `${typed} --help`);
  }
}

/** Prints an error and gives the exit status that goes with it. */
function report(error: unknown, help: string): number {
  const { text, status } = describeError(error);
  console.error(text);
  if (status === 2) console.error(`See ${help}`);
  return status;
}

/**
 * What to print for an error, and the exit status: a sentence for what Glimpse throws on purpose and
 * for what the system refuses; anything else is a bug and comes with its stack.
 */
export function describeError(error: unknown): { text: string; status: number } {
  if (error instanceof UsageError) return { text: `error: ${error.message}`, status: 2 };
  if (error instanceof GlimpseError) return { text: `error: ${error.message}`, status: 1 };
  if (isSystemError(error)) return { text: `error: ${systemErrorText(error)}`, status: 1 };
  const stack = error instanceof Error ? error.stack ?? error.message : Deno.inspect(error);
  return {
    text: `error: This is a bug in Glimpse; please report it with these lines.\n${stack}`,
    status: 1,
  };
}

/** Whether the operating system refused something (its errors carry a code such as `ENOENT`), or Deno for want of a permission. */
function isSystemError(error: unknown): error is Error {
  if (error instanceof Deno.errors.NotCapable) return true;
  return error instanceof Error && "code" in error && /^E[A-Z]+$/.test(String(error.code));
}

function programHelp({ summary, version, prefix, commands }: Program): string {
  const rows = Object.entries(commands).map(([name, { summary }]) => entry(name, summary));
  return [
    `Glimpse ${version}: ${summary}\n`,
    `Usage: ${prefix} COMMAND [options]\n`,
    "Commands",
    ...rows,
    `\n${prefix} COMMAND --help shows a command's options.`,
  ].join("\n");
}
