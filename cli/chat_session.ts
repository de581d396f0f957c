/** A conversation about pictures, and the commands by which it is changed. */

import { writeFileAtomic } from "../data/files.ts";
import { readPicture } from "../data/picture.ts";
import { DataError, UsageError } from "../kernels/runtime/errors.ts";
import { PICTURE, type Turn } from "../model/prompt.ts";
import type { Answer } from "../serve/answer.ts";
import type { Engine } from "../serve/engine.ts";
import { type FetchError, fetchPicture } from "../serve/fetch_picture.ts";
import type { Picture } from "../serve/picture_store.ts";
import { suggestion } from "./nearest.ts";

/** How answers are generated. */
export interface ChatSettings {
  /** How much chance there is; 0 takes the likeliest token. */
  temperature: number;
  /** Only the likeliest tokens with this probability together. */
  top_p: number;
  /** Only this many of the likeliest tokens; 0 for all. */
  top_k: number;
  /** Above 1, what has been said becomes less likely. */
  repetition_penalty: number;
  /** Tokens of an answer at most. */
  max_new_tokens: number;
  /** Seed of each answer; −1 for chance. */
  seed: number;
}

/** What each setting must be. */
const RANGES: Readonly<Record<keyof ChatSettings, [least: number, most: number, whole: boolean]>> =
  {
    temperature: [0, 10, false],
    top_p: [0, 1, false],
    top_k: [0, 1e6, true],
    repetition_penalty: [0.01, 100, false],
    max_new_tokens: [1, 1e6, true],
    seed: [-1, Number.MAX_SAFE_INTEGER, true],
  };

/** A picture that is about to be shown. */
export interface ShownPicture extends Picture {
  /** Its path or URL, as it was typed. */
  readonly path: string;
  /** The bytes of its file. */
  readonly file: Uint8Array<ArrayBuffer>;
}

/** One turn as it is saved. */
interface Said {
  readonly role: "user" | "assistant";
  readonly text: string;
  readonly pictures: readonly ShownPicture[];
}

/** The commands, and what each does. */
export const COMMANDS: Readonly<Record<string, string>> = {
  "/image PATH": "show a picture, from a file or a URL, with the next question",
  "/again": "answer the last question anew",
  "/clear": "begin anew",
  "/set NAME VALUE": "change how answers are generated; alone it lists the settings",
  "/save FILE": "save the conversation: .json for messages, else Markdown",
  "/help": "this list",
  "/quit": "leave",
};

/** Bytes of a picture from the network at most. */
const MOST_BYTES = 16_000_000;

async function fetched(url: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  if (!URL.canParse(url)) throw new UsageError(`${url} is no URL.`);
  const { host, hostname } = new URL(url);
  const { state } = await Deno.permissions.query({ name: "net", host });
  if (state !== "granted") {
    throw new UsageError(
      `${url} is on the network, which this chat may not use; start it as \`deno task chat:net\`.`,
    );
  }
  // who typed a host means it; where it leads on to must be a public one
  const options = { hosts: [hostname, "*"], maxBytes: MOST_BYTES, signal };
  return await fetchPicture(url, options).catch((error: FetchError) => {
    // a server keeps to itself what its network is like; here it is the person's own
    if (signal?.aborted || !(error.cause instanceof Error)) throw error;
    throw new DataError(`${error.message} ${error.cause.message}`, { cause: error });
  });
}

/** A conversation of several turns. What has been read of it is not read again. */
export class ChatSession {
  /** How answers are generated. */
  readonly settings: ChatSettings;
  readonly #engine: Engine;
  readonly #system: string | undefined;
  #said: Said[] = [];
  #pictures: ShownPicture[] = [];

  /** A new conversation. */
  constructor(engine: Engine, settings: ChatSettings, system?: string) {
    this.#engine = engine;
    this.settings = { ...settings };
    this.#system = system;
  }

  /** Pictures that the next question shows. */
  get pictures(): readonly ShownPicture[] {
    return this.#pictures;
  }

  /**
   * Shows a picture with the next question.
   *
   * @param path Of a file, or an http(s) URL.
   * @param signal Breaks off fetching it.
   * @throws {DataError} when it cannot be had or is no picture.
   * @throws {UsageError} when it is on the network and that is not permitted.
   */
  async show(path: string, signal?: AbortSignal): Promise<ShownPicture> {
    const file = /^https?:\/\//i.test(path)
      ? await fetched(path, signal)
      : new Uint8Array(await readPicture(path));
    const picture = { ...await this.#engine.pictures.prepare(file, `picture ${path}`), path, file };
    this.#pictures.push(picture);
    return picture;
  }

  /** Asks; the answer becomes a part of the conversation by `answered`. */
  ask(text: string): Answer {
    const said: Said[] = [...this.#said, { role: "user", text, pictures: this.#pictures }];
    const answer = this.#generate(said);
    this.#said = said;
    this.#pictures = [];
    return answer;
  }

  /** Answers the last question anew. */
  again(): Answer {
    const last = this.#said.findLastIndex(({ role }) => role === "user");
    if (last < 0) throw new UsageError("There is no question yet that could be answered again.");
    this.#said = this.#said.slice(0, last + 1);
    return this.#generate(this.#said);
  }

  /** Makes what was answered a part of the conversation. */
  answered(text: string): void {
    this.#said.push({ role: "assistant", text, pictures: [] });
  }

  /**
   * Obeys `/clear`, `/set`, `/save` or `/help`.
   *
   * @returns What to say to the person.
   * @throws {UsageError} when there is no such command or it cannot be obeyed.
   */
  async obey(line: string): Promise<string> {
    const [, command = "", rest = ""] = /^(\S+)\s*(.*?)\s*$/s.exec(line) ?? [];
    if (command === "/clear") {
      [this.#said, this.#pictures] = [[], []];
      return "A new conversation.";
    }
    if (command === "/set") return this.#set(rest);
    if (command === "/save") return await this.#save(rest);
    if (command === "/help") {
      return Object.entries(COMMANDS).map(([name, what]) => `${name.padEnd(17)}${what}`).join("\n");
    }
    const names = Object.keys(COMMANDS).map((name) => name.split(" ")[0]!);
    throw new UsageError(`There is no command ${command}.${suggestion(command, names)}`);
  }

  #generate(said: readonly Said[]): Answer {
    const { temperature, top_p, top_k, repetition_penalty, max_new_tokens, seed } = this.settings;
    const turns: Turn[] = said.map(({ role, text, pictures }) => ({
      role,
      content: [...pictures.flatMap(() => [PICTURE, "\n"]), text],
    }));
    if (this.#system !== undefined) turns.unshift({ role: "system", content: [this.#system] });
    return this.#engine.ask({
      turns,
      pictures: said.flatMap(({ pictures }) => pictures),
      temperature,
      topP: top_p,
      topK: top_k,
      repetitionPenalty: repetition_penalty,
      maxNewTokens: max_new_tokens,
      ...(seed >= 0 && { seed }),
    });
  }

  #set(rest: string): string {
    const [name = "", value = ""] = rest.split(/[\s=]+/);
    const names = Object.keys(RANGES) as (keyof ChatSettings)[];
    if (name === "") return names.map((name) => `${name} ${this.settings[name]}`).join("\n");
    const key = names.find((known) => known === name.replaceAll("-", "_"));
    if (!key) throw new UsageError(`There is no setting ${name}.${suggestion(name, names)}`);
    const [least, most, whole] = RANGES[key];
    const number = value === "" ? NaN : Number(value);
    if (!(number >= least && number <= most) || (whole && !Number.isInteger(number))) {
      const kind = whole ? "a whole number" : "a number";
      throw new UsageError(`${key} must be ${kind} from ${least} to ${most}, but is "${value}".`);
    }
    this.settings[key] = number;
    return `${key} ${number}`;
  }

  async #save(path: string): Promise<string> {
    if (path === "") throw new UsageError("/save needs the name of a file.");
    const text = path.endsWith(".json") ? this.#json() : this.#markdown();
    await writeFileAtomic(path, new TextEncoder().encode(text));
    return `Saved to ${path}.`;
  }

  #json(): string {
    const messages = this.#said.map(({ role, text, pictures }) => ({
      role,
      content: pictures.length === 0 ? text : [
        ...pictures.map(({ path }) => ({ type: "image_url", image_url: { url: path } })),
        { type: "text", text },
      ],
    }));
    return JSON.stringify({ messages, settings: this.settings }, null, 2) + "\n";
  }

  #markdown(): string {
    return this.#said.map(({ role, text, pictures }) => {
      const shown = pictures.map(({ path }) => `![](<${path}>)\n\n`).join("");
      return `**${role === "user" ? "You" : "Glimpse"}**\n\n${shown}${text}\n`;
    }).join("\n");
  }
}
