/** Batches in order, made ahead of the step that takes them. */

import { DataError, UsageError } from "../kernels/runtime/errors.ts";
import { type Batch, packPairs, packSamples, type Sample } from "../model/batch.ts";
import { type DatasetSource, TOKENS_PER_PICTURE, VlmDataset } from "./dataset.ts";
import { openRows } from "./open_rows.ts";
import { SampleOrder } from "./order.ts";
import { openPictures } from "./picture_source.ts";
import { SampleWorkers } from "./sample_workers.ts";

/** What a loader loads, and how. */
export interface LoaderOptions {
  /** The rows and pictures. */
  readonly source: DatasetSource;
  /** Chooses among the rows of the file; all of them unless given. */
  readonly choose?: ((length: number) => Uint32Array) | undefined;
  /** Samples a batch; of all processes together where there are several. */
  readonly batchSize: number;
  /** Which of several processes this one is; each makes its own part of every batch. */
  readonly part?: { readonly rank: number; readonly size: number };
  /** Whether each epoch goes through the rows in an order of its own. */
  readonly shuffle: boolean;
  /** The seed of all shuffles. */
  readonly seed: number;
  /** Batches within which rows of like length meet; 0, the default, for none. */
  readonly groupWindow?: number;
  /** Workers that make samples; 0, the default, makes each batch when it is asked for. */
  readonly workers?: number;
  /** Batches that workers make ahead. Default 4. */
  readonly prefetch?: number;
  /** Whether a row that cannot be used ends the run (the default) or is left out of its batch. */
  readonly onBadSample?: "stop" | "skip";
  /** Hears of every row that is left out. */
  readonly onSkip?: (error: DataError, index: number) => void;
  /** Rows that every sequence is padded to, as the original does; 0, the default, for none. */
  readonly padTo?: number;
  /** The token that rows are padded with. */
  readonly padId?: number;
}

/** From where to where a loader goes. */
export interface LoaderRange {
  /** The first epoch, from 0. */
  readonly epoch?: number;
  /** The first batch of that epoch, from 0. */
  readonly step?: number;
  /** The epoch before which it ends; 1 if left out. */
  readonly epochs?: number;
}

/** A batch and where it stands. */
export interface LoadedBatch {
  /** The epoch, from 0. */
  readonly epoch: number;
  /** The batch within the epoch, from 0. */
  readonly step: number;
  /** The samples; none where all were skipped. */
  readonly batch: Batch;
  /** Rows of this batch that could not be used. */
  readonly skipped: number;
}

type Outcome = { readonly sample: Sample } | { readonly index: number; readonly error: unknown };

/**
 * Makes batches of a data set, in an order that neither the number of workers nor their speed
 * changes.
 *
 * @example
 * ```ts ignore
 * await using loader = new Loader({ source, batchSize: 16, shuffle: true, seed: 42, workers: 2 });
 * for await (const { epoch, step, batch } of loader.batches({ epochs: 4 })) train(batch);
 * ```
 */
export class Loader implements AsyncDisposable {
  /** Rows that it goes through. */
  readonly length: number;
  /** Batches an epoch. */
  readonly stepsPerEpoch: number;
  /** Samples a batch, of all processes together. */
  readonly batchSize: number;
  readonly #options: LoaderOptions;
  readonly #order: SampleOrder;
  readonly #resources = new AsyncDisposableStack();
  readonly #sample: (index: number) => Promise<Sample>;

  /**
   * Starts the workers and finds the rows.
   *
   * @throws {DataError} where the data file cannot be read or has no rows.
   * @throws {UsageError} where rows of like length are to meet in a Parquet file.
   */
  constructor(options: LoaderOptions) {
    const { source, workers: count = 0 } = options;
    using rows = openRows(source.dataPath, source.rowIndex);
    if (options.groupWindow && rows.sections) {
      throw new UsageError(
        `${rows.path} does not tell how long its rows are, so that none of like length can meet: leave out ` +
          `--group_window ${options.groupWindow}.`,
      );
    }
    if (rows.length === 0) throw new DataError(`The data file ${rows.path} has no rows.`);
    const { index: rowIndex } = rows;
    using pictures = openPictures(source.imagesPath, source.pictureIndex);
    const known = { ...source, rowIndex, ...(pictures.index && { pictureIndex: pictures.index }) };
    const chosen = options.choose?.(rows.length);
    this.length = chosen?.length ?? rows.length;
    this.#options = options;
    this.batchSize = options.batchSize;
    this.#order = new SampleOrder({
      ...options,
      length: this.length,
      rows: chosen,
      sections: rows.sections,
      sizeOf: (index) => rows.bytes(index),
    });
    this.stepsPerEpoch = this.#order.stepsPerEpoch;
    if (count > 0) {
      const workers = this.#resources.use(new SampleWorkers(count));
      workers.open(known);
      this.#sample = (index) => workers.sample(index);
    } else {
      const dataset = this.#resources.use(VlmDataset.open(known));
      this.#sample = (index) => dataset.sample(index);
    }
  }

  /**
   * The batches of some epochs. Leaving the loop ends them; the loader can then begin elsewhere.
   *
   * @throws {DataError} with file and line at the batch of a row that cannot be used, unless such
   * rows are skipped.
   */
  async *batches(
    { epoch = 0, step = 0, epochs = 1 }: LoaderRange = {},
  ): AsyncGenerator<LoadedBatch, void, void> {
    const { workers = 0, prefetch = 4 } = this.#options;
    const ahead = workers > 0 ? Math.max(prefetch, 1) : 0;
    const end = epochs * this.stepsPerEpoch;
    const queue: Promise<Outcome[]>[] = [];
    for (let at = epoch * this.stepsPerEpoch + step, next = at; at < end; at++) {
      for (; next < end && next <= at + ahead; next++) queue.push(this.#begin(next));
      yield { ...this.#place(at), ...this.#finish(await queue.shift()!) };
    }
  }

  /** The sample of a row of the file. */
  sample(index: number): Promise<Sample> {
    return this.#sample(index);
  }

  /** Ends the workers and closes the files. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }

  #place(at: number): { epoch: number; step: number } {
    return { epoch: Math.floor(at / this.stepsPerEpoch), step: at % this.stepsPerEpoch };
  }

  #begin(at: number): Promise<Outcome[]> {
    const { epoch, step } = this.#place(at);
    const { rank, size } = this.#options.part ?? { rank: 0, size: 1 };
    const all = this.#order.batch(epoch, step);
    const cut = (rank: number) => Math.floor(all.length * rank / size);
    const outcomes = Array.from(
      all.subarray(cut(rank), cut(rank + 1)),
      (index) =>
        this.#sample(index).then(
          (sample): Outcome => ({ sample }),
          (error): Outcome => ({ index, error }),
        ),
    );
    return Promise.all(outcomes);
  }

  #finish(outcomes: Outcome[]): { batch: Batch; skipped: number } {
    const { source, onBadSample = "stop", onSkip, padTo, padId } = this.#options;
    const samples: Sample[] = [];
    for (const outcome of outcomes) {
      if ("sample" in outcome) samples.push(outcome.sample);
      else if (onBadSample === "skip" && outcome.error instanceof DataError) {
        onSkip?.(outcome.error, outcome.index);
      } else throw outcome.error;
    }
    const { captions, tokensPerPicture = TOKENS_PER_PICTURE } = source;
    const batch = captions
      ? packPairs(samples)
      : packSamples(samples, tokensPerPicture, padTo, padId);
    return { batch, skipped: outcomes.length - samples.length };
  }
}
