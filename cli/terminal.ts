/** The terminal: keys come in one by one, and a line that is typed is shown as it changes. */

import { type Key, KeyReader } from "./keys.ts";
import { LineEditor, placeAfter } from "./line_editor.ts";

const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";

/** Writes text to the terminal. */
export async function write(text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
}

/** Text in a weaker colour, where there is any. */
export function dim(text: string): string {
  return Deno.stdout.isTerminal() && !Deno.noColor ? `\x1b[2m${text}\x1b[22m` : text;
}

/** A terminal in raw mode, until it is disposed of. */
export class Terminal implements AsyncDisposable {
  readonly #editor = new LineEditor();
  readonly #keys = new KeyReader();
  readonly #reader = Deno.stdin.readable.getReader();
  readonly #waiting: Key[] = [];
  #wake: () => void = () => {};
  #ended = false;
  /** Is told of Ctrl-C while no line is being typed. */
  #onInterrupt: (() => void) | undefined;
  /** Row of the cursor below the line's first. */
  #row = 0;

  private constructor() {
    this.#listen();
  }

  /** Takes the terminal over. */
  static async open(): Promise<Terminal> {
    Deno.stdin.setRaw(true);
    await write(PASTE_ON);
    return new Terminal();
  }

  /** Calls back at Ctrl-C until the returned function is called. */
  onInterrupt(callback: () => void): () => void {
    this.#onInterrupt = callback;
    return () => this.#onInterrupt = undefined;
  }

  /**
   * Lets a line be typed.
   *
   * @returns The line; `undefined` when the person leaves: by Ctrl-D, or Ctrl-C twice.
   */
  async readLine(prompt: string): Promise<string | undefined> {
    this.#row = 0;
    await this.#draw(prompt);
    for (let leaving = false;;) {
      const key = await this.#next();
      const event = key ? this.#editor.press(key) : "close";
      if (event === "submit") {
        await this.#draw(prompt, true);
        return this.#editor.take();
      }
      if (event === "close") {
        await write("\n");
        return undefined;
      }
      if (event === "interrupt") {
        if (leaving && this.#editor.text === "") {
          await write("\n");
          return undefined;
        }
        const isEmpty = this.#editor.text === "";
        this.#editor.clear();
        await this.#draw(prompt);
        if (isEmpty) await write(dim("(Ctrl-C once more leaves)"));
        leaving = isEmpty;
        if (isEmpty) continue;
      }
      if (event === "clearScreen") {
        await write("\x1b[H\x1b[2J");
        this.#row = 0;
      }
      if (event !== "interrupt") leaving = false;
      await this.#draw(prompt);
    }
  }

  /** Gives the terminal back. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    Deno.stdin.setRaw(false);
    await write(PASTE_OFF);
    await this.#reader.cancel();
  }

  async #listen(): Promise<void> {
    while (!this.#ended) {
      const { value, done } = await this.#reader.read().catch(() => ({
        value: undefined,
        done: true,
      }));
      if (done || !value) break;
      for (const key of this.#keys.push(value)) {
        const isInterrupt = "name" in key && key.name === "interrupt";
        if (isInterrupt && this.#onInterrupt) this.#onInterrupt();
        else this.#waiting.push(key);
      }
      this.#wake();
    }
    this.#ended = true;
    this.#wake();
  }

  async #next(): Promise<Key | undefined> {
    while (this.#waiting.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#waiting.shift();
  }

  /** Draws prompt and line over what was drawn before; `done` leaves the cursor below. */
  async #draw(prompt: string, done = false): Promise<void> {
    const { columns } = Deno.consoleSize();
    const { text, before } = this.#editor;
    const end = placeAfter(prompt + text, columns);
    const cursor = placeAfter(prompt + before, columns);
    let out = `\r${up(this.#row)}\x1b[J${(prompt + text).replaceAll("\n", "\r\n")}`;
    const isFull = end.column === 0 && end.row > 0 && !text.endsWith("\n"); // terminals wrap late
    if (done || isFull) out += "\r\n";
    if (!done) {
      const right = cursor.column > 0 ? `\x1b[${cursor.column}C` : "";
      out += `${up(end.row - cursor.row)}\r${right}`;
    }
    this.#row = done ? 0 : cursor.row;
    await write(out);
  }
}

function up(rows: number): string {
  return rows > 0 ? `\x1b[${rows}A` : "";
}
