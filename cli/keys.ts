/** Keys that were pressed, from what a terminal in raw mode sends. */

/** A key with a name, or text that was typed or pasted. */
export type Key = { readonly name: KeyName } | { readonly text: string };

/** The keys that have names. */
export type KeyName =
  | "enter"
  | "newline"
  | "backspace"
  | "delete"
  | "left"
  | "right"
  | "wordLeft"
  | "wordRight"
  | "up"
  | "down"
  | "home"
  | "end"
  | "killLine"
  | "killToEnd"
  | "killWord"
  | "clearScreen"
  | "interrupt"
  | "close";

const CONTROLS: Readonly<Record<string, KeyName>> = {
  "\r": "enter",
  "\n": "newline",
  "\x7f": "backspace",
  "\b": "backspace",
  "\x01": "home",
  "\x02": "left",
  "\x03": "interrupt",
  "\x04": "close",
  "\x05": "end",
  "\x06": "right",
  "\x0b": "killToEnd",
  "\x0c": "clearScreen",
  "\x0e": "down",
  "\x10": "up",
  "\x15": "killLine",
  "\x17": "killWord",
};

const SEQUENCES: Readonly<Record<string, KeyName>> = {
  "[A": "up",
  "[B": "down",
  "[C": "right",
  "[D": "left",
  "[H": "home",
  "[F": "end",
  "OA": "up",
  "OB": "down",
  "OC": "right",
  "OD": "left",
  "OH": "home",
  "OF": "end",
  "[1~": "home",
  "[4~": "end",
  "[7~": "home",
  "[8~": "end",
  "[3~": "delete",
  "[1;5C": "wordRight",
  "[1;5D": "wordLeft",
  "[1;3C": "wordRight",
  "[1;3D": "wordLeft",
  "b": "wordLeft",
  "f": "wordRight",
  "\r": "newline",
};

const PASTE_START = "[200~";
const PASTE_END = "\x1b[201~";

/** Turns what comes, in pieces of any length, into keys. */
export class KeyReader {
  readonly #decoder = new TextDecoder();
  #rest = "";

  /** The keys that these bytes complete. */
  push(bytes: Uint8Array): Key[] {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const keys: Key[] = [];
    for (;;) {
      const [key, length] = this.#next();
      if (length === 0) return keys;
      this.#rest = this.#rest.slice(length);
      if (key) keys.push(key);
    }
  }

  /** The next key, if it is known, and how many characters it takes; none when more must come first. */
  #next(): [key: Key | undefined, length: number] {
    const rest = this.#rest;
    const first = rest[0];
    if (first === undefined) return [undefined, 0];
    if (first === "\x1b") return this.#escaped(rest.slice(1));
    const name = CONTROLS[first];
    if (name) return [{ name }, 1];
    const [text = ""] = /^\P{Cc}*/u.exec(rest) ?? [];
    return text === "" ? [undefined, 1] : [{ text }, text.length];
  }

  #escaped(rest: string): [key: Key | undefined, length: number] {
    if (rest.startsWith(PASTE_START)) {
      const end = rest.indexOf(PASTE_END);
      if (end < 0) return [undefined, 0];
      const text = rest.slice(PASTE_START.length, end).replace(/\r\n?/g, "\n");
      return [{ text: printable(text) }, 1 + end + PASTE_END.length];
    }
    const [sequence] = /^(?:\[[\d;]*[^\d;]|O.|[^[O])/s.exec(rest) ?? [];
    if (sequence === undefined) return [undefined, 0];
    const name = SEQUENCES[sequence];
    return [name && { name }, 1 + sequence.length];
  }
}

/** A text without what a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, "");
}
