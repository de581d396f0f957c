import type { Engine } from "./engine.ts";
import type { AnswerDefaults } from "./questions.ts";

/** A model under the name that requests ask for. */
export interface ServedModel {
  /** The name. */
  readonly name: string;
  /** What answers. */
  readonly engine: Engine;
}

/** What a server takes, and from whom. */
export interface AppOptions {
  /** The key that requests must have; none unless given. */
  readonly apiKey?: string | undefined;
  /** Origins of other pages that may use it, or `*`. */
  readonly corsOrigins: readonly string[];
  /** Hosts from which pictures are fetched when a request names them. */
  readonly imageHosts: readonly string[];
  /** Names under which it is reached; any unless given. */
  readonly hostNames?: readonly string[] | undefined;
  /** Bytes of a request at most. */
  readonly maxBodyBytes: number;
  /** Bytes of a picture at most. */
  readonly maxImageBytes: number;
  /** Bytes of all files that clients left. */
  readonly fileBytes: number;
  /** How answers are generated where a request does not say. */
  readonly defaults: AnswerDefaults;
  /** Is told of mistakes of the server itself. */
  readonly log: (line: string) => void;
}

/** What is usual where nothing else is asked for. */
export const APP_DEFAULTS: AppOptions = {
  corsOrigins: [],
  imageHosts: [],
  maxBodyBytes: 32 << 20,
  maxImageBytes: 16 << 20,
  fileBytes: 256 << 20,
  defaults: { temperature: 0.65, topP: 0.85, topK: 50, maxTokens: 512 },
  log: console.error,
};
