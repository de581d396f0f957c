/** `deno task chat`: talks about pictures in the terminal. */

import { TextLineStream } from "./text_lines.ts";
import { formatBytes } from "../kernels/runtime/memory.ts";
import { GlimpseError, UsageError } from "../kernels/runtime/errors.ts";
import type { Answer } from "../serve/answer.ts";
import { ContextLengthError, Engine } from "../serve/engine.ts";
import { ChatSession, type ShownPicture } from "./chat_session.ts";
import { printable } from "./keys.ts";
import { modelOptions, openModel, SAMPLING } from "./model_options.ts";
import { choice, flag, integer, number, paths, text } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";
import { dim, Terminal, write } from "./terminal.ts";
import { fromPlanes, pictureProtocol, pictureSequence } from "./terminal_picture.ts";

const TALK = "Conversation";
const ANSWER = "Answer";

/** The options of `chat`. */
export const options = {
  ...modelOptions,
  image: paths({
    section: TALK,
    help: "Picture to talk about, a file or a URL; may be given several times.",
  }),
  prompt: text({
    section: TALK,
    help: "Question to answer, and no more (-p for short); without it, questions are typed.",
    placeholder: "TEXT",
  }),
  system: text({ section: TALK, help: "What the model is told first.", placeholder: "TEXT" }),
  context: integer({
    section: TALK,
    help: "Tokens of the conversation at most, answers included.",
    default: 2048,
    min: 16,
  }),
  show: choice(["auto", "kitty", "iterm", "sixel", "none"], {
    section: TALK,
    help: "How the terminal shows pictures.",
    default: "auto",
  }),
  stats: flag({ section: TALK, help: "Tell after each answer how fast it was." }),
  max_new_tokens: integer({
    section: ANSWER,
    help: "Tokens of an answer at most.",
    default: 512,
    min: 1,
    max: 1e6,
  }),
  ...SAMPLING,
  repetition_penalty: number({
    section: ANSWER,
    help: "Above 1, what has been said becomes less likely.",
    default: 1,
    min: 0.01,
    max: 100,
  }),
  seed: integer({ section: ANSWER, help: "Seed of each answer; by chance unless given.", min: 0 }),
};

/** Answers one question, or talks until the person leaves. */
export async function run(args: readonly string[]): Promise<number> {
  const o = parseOptions(options, args.map((arg) => arg === "-p" ? "--prompt" : arg));
  using opened = await openModel(o);
  await using engine = new Engine(opened.model, { slots: 1, queue: 1, capacity: o.context });
  const { temperature, top_p, top_k, repetition_penalty, max_new_tokens, seed = -1 } = o;
  const settings = { temperature, top_p, top_k, repetition_penalty, max_new_tokens, seed };
  const chat = new ChatSession(engine, settings, o.system);
  const protocol = o.show === "auto" ? pictureProtocol((name) => Deno.env.get(name)) : o.show;
  const isTerminal = Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
  const show = async (path: string, signal?: AbortSignal): Promise<void> => {
    const picture = await chat.show(path, signal);
    if (!isTerminal || o.prompt !== undefined) return;
    const pixels = fromPlanes(picture.pixels, opened.model.processor.size);
    await write(pictureSequence(protocol, pixels, picture.file));
    await write(dim(described(picture)) + "\n");
  };
  for (const path of o.image) await show(path);
  if (o.prompt !== undefined) return await answerOnce(chat, o.prompt, o.stats);
  if (!isTerminal) return await answerLines(chat, show, o.stats);
  await write(dim(`${opened.gpu.info.name}. /help lists the commands, Ctrl-D leaves.\n`));
  await using terminal = await Terminal.open();
  for (;;) {
    const line = await terminal.readLine("› ");
    if (line === undefined || /^\/(quit|exit)\s*$/.test(line)) return 0;
    await turn(chat, line, show, o.stats, (stop) => terminal.onInterrupt(stop));
  }
}

function described({ path, file }: ShownPicture): string {
  return `${printable(path)} (${formatBytes(file.length)})`;
}

async function answerOnce(chat: ChatSession, question: string, stats: boolean): Promise<number> {
  const answer = chat.ask(question);
  const stop = (): void => answer.cancel();
  Deno.addSignalListener("SIGINT", stop);
  try {
    await say(chat, answer, stats);
  } finally {
    Deno.removeSignalListener("SIGINT", stop);
  }
  return answer.finish === "cancelled" ? 130 : 0;
}

/** Answers the lines of a file or of another program. */
async function answerLines(
  chat: ChatSession,
  show: (path: string) => Promise<void>,
  stats: boolean,
): Promise<number> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  for await (const line of lines) {
    if (/^\/(quit|exit)\s*$/.test(line)) break;
    await turn(chat, line, show, stats, () => () => {});
  }
  return 0;
}

/** Does what a line says: a command, or a question. */
async function turn(
  chat: ChatSession,
  line: string,
  show: (path: string, signal: AbortSignal) => Promise<void>,
  stats: boolean,
  listen: (stop: () => void) => () => void,
): Promise<void> {
  try {
    if (line.trim() === "") return;
    const [, path] = /^\/image\s+(.+?)\s*$/s.exec(line) ?? [];
    if (path !== undefined) {
      const stop = new AbortController();
      const heard = listen(() => stop.abort());
      return await show(path.replace(/^(["'])(.*)\1$/, "$2"), stop.signal).finally(heard);
    }
    if (/^\/image\s*$/.test(line)) {
      throw new UsageError("/image needs the path or the URL of a picture.");
    }
    const isAgain = /^\/again\s*$/.test(line);
    if (line.startsWith("/") && !isAgain) return await write(dim(await chat.obey(line)) + "\n");
    const answer = isAgain ? chat.again() : chat.ask(line);
    const heard = listen(() => answer.cancel());
    await say(chat, answer, stats).finally(heard);
  } catch (error) {
    if (!(error instanceof GlimpseError) && !(error instanceof Deno.errors.NotCapable)) throw error;
    const isLong = error instanceof ContextLengthError;
    const hint = isLong ? " /clear begins anew; --context N at the start makes more room." : "";
    await write(`${error.message}${hint}\n`);
  }
}

/** Writes an answer as it comes. */
async function say(chat: ChatSession, answer: Answer, stats: boolean): Promise<void> {
  const start = performance.now();
  let first = start;
  let text = "";
  for await (const piece of answer) {
    if (text === "") first = performance.now();
    text += piece.text;
    await write(printable(piece.text));
  }
  if (text !== "") chat.answered(text);
  await write("\n");
  if (!stats || answer.completionTokens === 0) return;
  const seconds = (performance.now() - first) / 1000;
  const { completionTokens: made, promptTokens, cachedTokens } = answer;
  const rate = made > 1 && seconds > 0 ? `, ${((made - 1) / seconds).toFixed(1)} tokens/s` : "";
  await write(dim(
    `${made} tokens${rate}, first after ${((first - start) / 1000).toFixed(2)} s, ` +
      `${promptTokens} tokens asked of which ${cachedTokens} were known\n`,
  ));
}
