import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { GenerateOptions } from "./decoder.ts";
import type { Prompt } from "./prompt.ts";
import { checkedSampling, type SamplingOptions } from "./sampling.ts";

/** How one answer of a batch is generated. */
export interface SequenceOptions extends GenerateOptions {
  /** Taken off the logit of a token that the answer has. Default 0. */
  readonly presencePenalty?: number;
  /** Taken off the logit of a token each time that the answer has it. Default 0. */
  readonly frequencyPenalty?: number;
  /** How many of the likeliest tokens are told with each token; unless given, no probabilities are. */
  readonly topLogprobs?: number;
}

/** A picture that a prompt shows. */
export interface PromptPicture {
  /** Names its content: equal pictures have equal keys, others differ. */
  readonly key: string;
  /** Features of its patches [patches, vision width]. */
  readonly features: Tensor;
}

/** A token and its natural logarithm of probability. */
export interface TokenLogprob {
  /** The token. */
  readonly id: number;
  /** Logarithm of what the model gives it, before temperature and penalties. */
  readonly logprob: number;
}

/** A token of an answer. */
export interface DrawnToken {
  /** The token. */
  readonly id: number;
  /** Its probability, when it was asked for. */
  readonly logprob?: number;
  /** The likeliest tokens at its place, the likeliest first, when they were asked for. */
  readonly top?: readonly TokenLogprob[];
}

/** One answer of a batch, from when it joins until it has ended. */
export class Sequence {
  /** How it is generated. */
  readonly options: SequenceOptions;
  /** The same, checked and complete. */
  readonly sampling: Required<SamplingOptions>;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Tokens of the prompt that did not need to be read again. */
  readonly cachedTokens: number;
  /** Rows that pictures take, first to last. */
  readonly imageRows: Uint32Array<ArrayBuffer>;
  /** The pictures, until the prompt has been read. */
  readonly pictures: readonly PromptPicture[];
  /** Where its keys and values are. */
  readonly slot: number;
  /** Tokens of prompt and answer. */
  readonly ids: number[];
  /** Why it ended: a token that stops it, or there was no room or leave for more. */
  finish: "stop" | "length" | undefined;
  /** Whether the prompt has been read. */
  started = false;

  /** For `BatchDecoder`. */
  constructor(
    prompt: Prompt,
    pictures: readonly PromptPicture[],
    options: SequenceOptions,
    slot: number,
    cachedTokens: number,
  ) {
    this.sampling = checkedSampling(options);
    this.options = options;
    this.ids = [...prompt.ids];
    this.promptTokens = prompt.ids.length;
    this.imageRows = prompt.imageRows;
    this.pictures = pictures.map((picture) => {
      picture.features.retain();
      return picture;
    });
    this.slot = slot;
    this.cachedTokens = cachedTokens;
  }

  /** The answer so far. */
  get answer(): readonly number[] {
    return this.ids.slice(this.promptTokens);
  }

  /** Whether it asks for a penalty on what the answer has. */
  get isPenalised(): boolean {
    const { presencePenalty = 0, frequencyPenalty = 0 } = this.options;
    return presencePenalty !== 0 || frequencyPenalty !== 0;
  }

  /** Takes drawn tokens up to its end and returns those taken. */
  accept(drawn: readonly DrawnToken[], capacity: number): DrawnToken[] {
    const taken: DrawnToken[] = [];
    for (const token of drawn) {
      if (this.finish) break;
      taken.push(token);
      this.ids.push(token.id);
      const made = this.ids.length - this.promptTokens;
      if (this.options.stopIds.includes(token.id)) this.finish = "stop";
      else if (made >= this.options.maxNewTokens || this.ids.length >= capacity) {
        this.finish = "length";
      }
    }
    return taken;
  }
}
