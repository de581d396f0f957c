/** A line that is typed in a terminal: moved about in, corrected, and taken from what was typed before. */

import type { Key } from "./keys.ts";

/** What a key leads to beyond a change of the line. */
export type LineEvent = "submit" | "interrupt" | "close" | "clearScreen" | undefined;

/** The text and the cursor of a line, and the lines before it. */
export class LineEditor {
  /** The text, as characters. */
  #characters: string[] = [];
  /** Characters before the cursor. */
  #cursor = 0;
  readonly #history: string[] = [];
  /** Which line of the history is shown; its length is the new one. */
  #shown = 0;
  #draft = "";

  /** The text. */
  get text(): string {
    return this.#characters.join("");
  }

  /** The text before the cursor. */
  get before(): string {
    return this.#characters.slice(0, this.#cursor).join("");
  }

  /** Takes a key. */
  press(key: Key): LineEvent {
    if ("text" in key) return void this.#insert(key.text);
    const { name } = key;
    switch (name) {
      case "enter":
        return "submit";
      case "interrupt":
      case "clearScreen":
        return name;
      case "close":
        return this.#characters.length === 0 ? "close" : void this.#delete(1);
      case "newline":
        return void this.#insert("\n");
      case "backspace":
        return void this.#delete(-1);
      case "delete":
        return void this.#delete(1);
      case "left":
      case "right":
        return void this.#move(this.#cursor + (name === "left" ? -1 : 1));
      case "wordLeft":
      case "wordRight":
        return void this.#move(this.#word(name === "wordLeft" ? -1 : 1));
      case "home":
        return void this.#move(0);
      case "end":
        return void this.#move(this.#characters.length);
      case "killToEnd":
        return void this.#characters.splice(this.#cursor);
      case "killLine":
        return void this.#delete(-this.#cursor);
      case "killWord":
        return void this.#delete(this.#word(-1) - this.#cursor);
      case "up":
      case "down":
        return void this.#recall(this.#shown + (name === "up" ? -1 : 1));
    }
  }

  /** The line, which thereby becomes a part of the history; a new one begins. */
  take(): string {
    const { text } = this;
    if (text.trim() !== "" && text !== this.#history.at(-1)) this.#history.push(text);
    this.clear();
    return text;
  }

  /** Begins a new line. */
  clear(): void {
    this.#set("");
    this.#shown = this.#history.length;
    this.#draft = "";
  }

  #set(text: string): void {
    this.#characters = graphemes(text);
    this.#cursor = this.#characters.length;
  }

  #insert(text: string): void {
    this.#characters.splice(this.#cursor, 0, ...graphemes(text));
    this.#cursor += graphemes(text).length;
  }

  #delete(count: number): void {
    const start = Math.max(0, Math.min(this.#cursor, this.#cursor + count));
    const removed = this.#characters.splice(start, Math.abs(count));
    if (count < 0) this.#cursor -= removed.length;
  }

  #move(to: number): void {
    this.#cursor = Math.max(0, Math.min(this.#characters.length, to));
  }

  /** Where the next word begins or ends. */
  #word(step: 1 | -1): number {
    const isSpace = (at: number) => /^\s?$/.test(this.#characters[step < 0 ? at - 1 : at] ?? "x");
    let at = this.#cursor;
    const end = step < 0 ? 0 : this.#characters.length;
    while (at !== end && isSpace(at)) at += step;
    while (at !== end && !isSpace(at)) at += step;
    return at;
  }

  #recall(index: number): void {
    if (index < 0 || index > this.#history.length) return;
    if (this.#shown === this.#history.length) this.#draft = this.text;
    this.#shown = index;
    this.#set(this.#history[index] ?? this.#draft);
  }
}

const segmenter = new Intl.Segmenter();

function graphemes(text: string): string[] {
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** How many columns a text takes: two for East Asian wide characters and emoji. */
export function columns(text: string): number {
  return graphemes(text).reduce((sum, segment) => sum + width(segment), 0);
}

function width(segment: string): number {
  const code = segment.codePointAt(0)!;
  const isWide = /\p{Emoji_Presentation}/u.test(segment) || code >= 0x1100 && (
        code <= 0x115f || (code >= 0x2e80 && code <= 0xa4cf && code !== 0x303f) ||
        (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) ||
        (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
        (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x20000 && code <= 0x3fffd)
      );
  return isWide ? 2 : 1;
}

/** Where the cursor stands after a text. */
export interface Place {
  /** Rows below the first. */
  readonly row: number;
  /** Columns from the left. */
  readonly column: number;
}

/** Where the cursor stands after a text in a terminal of some width. */
export function placeAfter(text: string, terminalWidth: number): Place {
  let row = 0, column = 0;
  for (const segment of graphemes(text)) {
    if (segment === "\n") [row, column] = [row + 1, 0];
    else {
      const wide = width(segment);
      if (column + wide > terminalWidth) [row, column] = [row + 1, 0];
      column += wide;
    }
  }
  return column === terminalWidth ? { row: row + 1, column: 0 } : { row, column };
}
