import { gatherRows } from "../kernels/rows.ts";
import type { Scope } from "../kernels/runtime/scope.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { sampleTokens, samplingSettings, seenTokens } from "../kernels/sample_tokens.ts";
import { countTokens, penalizeCounts } from "../kernels/token_counts.ts";
import type { DrawnToken, Sequence } from "./sequence.ts";
import type { Vlm } from "./vlm.ts";

/** Tokens on their way from the device. Dispose of what is not read. */
export interface PendingTokens extends Disposable {
  /** For whom they were drawn. */
  readonly sequences: readonly Sequence[];
  /** The tokens of each sequence, once what has been recorded is submitted. */
  read(): Promise<DrawnToken[][]>;
}

/** Draws the tokens of several sequences on the device, step by step, and reads them all at once. */
export class BatchSampler implements Disposable {
  readonly #vlm: Vlm;
  readonly #sequences: readonly Sequence[];
  readonly #settings: Tensor;
  readonly #seen: Tensor | undefined;
  readonly #counts: Tensor | undefined;
  readonly #penalties: Tensor | undefined;
  /** Rows whose probabilities are asked for. */
  readonly #told: readonly number[];
  readonly #toldRows: Tensor | undefined;
  #tokens: Tensor[] = [];
  #logits: Tensor[] = [];

  /** Puts the settings on the device; nothing that sequences do not ask for is computed. */
  constructor(vlm: Vlm, sequences: readonly Sequence[]) {
    const { gpu } = vlm;
    const { vocab_size: vocabulary } = vlm.config.language;
    this.#vlm = vlm;
    this.#sequences = sequences;
    this.#settings = samplingSettings(gpu, sequences.map(({ sampling }) => sampling));
    if (sequences.some(({ sampling }) => sampling.repetitionPenalty !== 1)) {
      this.#seen = seenTokens(gpu, sequences.map(({ ids }) => ids), vocabulary);
    }
    if (sequences.some(({ isPenalised }) => isPenalised)) {
      const counts = new Uint32Array(sequences.length * vocabulary);
      sequences.forEach((sequence, row) => {
        if (!sequence.isPenalised) return;
        for (const id of sequence.answer) counts[row * vocabulary + id]!++;
      });
      this.#counts = gpu.tensor(counts, [sequences.length, vocabulary], "token counts");
      const penalties = sequences.flatMap(({ options }) => [
        options.presencePenalty ?? 0,
        options.frequencyPenalty ?? 0,
      ]);
      this.#penalties = gpu.tensor(Float32Array.from(penalties), [sequences.length, 2]);
    }
    this.#told = sequences.flatMap(({ options }, i) => options.topLogprobs === undefined ? [] : i);
    if (this.#told.length > 0) {
      this.#toldRows = gpu.tensor(Uint32Array.from(this.#told), [this.#told.length]);
    }
  }

  /**
   * Draws a token for each sequence.
   *
   * @param logits [sequences, vocabulary].
   * @param step The scope that ends before the tokens are read, if any.
   * @returns uint32 [sequences].
   */
  draw(logits: Tensor, step?: Scope): Tensor {
    const { gpu } = this.#vlm;
    const keep = (tensor: Tensor): Tensor => step ? step.keep(tensor) : tensor;
    const uniforms = Float32Array.from(
      this.#sequences,
      ({ options }) => Math.min(options.random.float(), 1 - 2 ** -24),
    );
    const penalised = this.#counts && this.#penalties
      ? penalizeCounts(logits, this.#counts, this.#penalties)
      : logits;
    const tokens = keep(
      sampleTokens(penalised, this.#settings, gpu.tensor(uniforms, [uniforms.length]), this.#seen),
    );
    if (this.#counts) countTokens(this.#counts, tokens);
    if (this.#toldRows) this.#logits.push(keep(gatherRows(logits, this.#toldRows)));
    this.#tokens.push(tokens);
    return tokens;
  }

  /** Records the reading of what was drawn since the last time. What it reads may be freed at once. */
  take(): PendingTokens {
    const { gpu } = this.#vlm;
    const steps = this.#tokens.length;
    const reading = gpu.recordRead([...this.#tokens, ...this.#logits]);
    [this.#tokens, this.#logits] = [[], []];
    return {
      sequences: this.#sequences,
      read: async () => this.#drawn(await reading(), steps),
      [Symbol.dispose]: () => reading[Symbol.dispose](),
    };
  }

  /** Frees what it put on the device. */
  [Symbol.dispose](): void {
    const all = [this.#settings, this.#seen, this.#counts, this.#penalties, this.#toldRows];
    for (const tensor of all) tensor?.dispose();
  }

  /** The tokens of each sequence from the bytes of each step's tokens and logits. */
  #drawn(bytes: readonly ArrayBuffer[], steps: number): DrawnToken[][] {
    const ids = bytes.slice(0, steps).map((data) => new Uint32Array(data));
    const logits = bytes.slice(steps).map((data) => new Float32Array(data));
    return this.#sequences.map(({ options }, row) => {
      const told = this.#told.indexOf(row);
      return ids.map((drawn, i) => {
        const id = drawn[row]!;
        if (told < 0) return { id };
        const width = this.#vlm.config.language.vocab_size;
        const all = logits[i]!.subarray(told * width, (told + 1) * width);
        return { id, ...withLogprobs(all, id, options.topLogprobs ?? 0) };
      });
    });
  }
}

/** Logarithms of probabilities: log softmax. */
function withLogprobs(
  logits: Float32Array,
  id: number,
  count: number,
): Required<Omit<DrawnToken, "id">> {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const norm = most + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
  const best = Uint32Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  return {
    logprob: logits[id]! - norm,
    top: Array.from(best.subarray(0, count), (id) => ({ id, logprob: logits[id]! - norm })),
  };
}
