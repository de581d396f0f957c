/** Samples made in Web Workers, several at a time. */

import { DataError, FormatError, GlimpseError } from "../kernels/runtime/errors.ts";
import type { Sample } from "../model/batch.ts";
import type { DatasetSource } from "./dataset.ts";

/** What a worker is sent: first where its data is, then what to make, at last to stop. */
export type WorkerRequest =
  | { readonly kind: "open"; readonly source: DatasetSource }
  | { readonly kind: "sample"; readonly id: number; readonly index: number }
  | { readonly kind: "stop" };

/** What a worker answers. */
export type WorkerReply =
  | { readonly kind: "sample"; readonly id: number; readonly sample: Sample }
  | { readonly kind: "error"; readonly id: number; readonly name: string; readonly message: string }
  | { readonly kind: "stopped" };

/** Samples that a worker has at once: one whose picture is decoded, one that waits behind it. */
const JOBS_PER_WORKER = 2;

interface Job {
  readonly index: number;
  readonly result: PromiseWithResolvers<Sample>;
}

interface Member {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
  readonly stopped: PromiseWithResolvers<void>;
}

/**
 * Workers that make samples. They start when this is constructed and load their libraries while the
 * caller goes on; {@linkcode SampleWorkers.open} tells them what to read.
 */
export class SampleWorkers implements AsyncDisposable {
  readonly #members: Member[];
  readonly #waiting: Job[] = [];
  #nextId = 0;
  #failure: Error | undefined;

  /**
   * @param count Number of workers.
   * @param url The worker's module.
   */
  constructor(count: number, url: URL = new URL("./loader_worker.ts", import.meta.url)) {
    this.#members = Array.from({ length: count }, (_, i) => {
      const worker = new Worker(url, { type: "module", name: `samples ${i + 1}` });
      const member = { worker, jobs: new Map(), stopped: Promise.withResolvers<void>() };
      worker.onmessage = ({ data }: MessageEvent<WorkerReply>) => this.#receive(member, data);
      worker.onerror = (event) => {
        event.preventDefault();
        member.stopped.resolve();
        this.#fail(new GlimpseError(`A worker that loads samples failed: ${event.message}.`));
      };
      return member;
    });
  }

  /** Tells the workers where the data is; comes before the first sample is asked for. */
  open(source: DatasetSource): void {
    for (const { worker } of this.#members) send(worker, { kind: "open", source });
  }

  /**
   * Makes a sample in the first worker that is free.
   *
   * @throws {DataError} with file and line where the row cannot be used.
   * @throws {GlimpseError} where a worker failed or all were stopped.
   */
  sample(index: number): Promise<Sample> {
    if (this.#failure) return Promise.reject(this.#failure);
    const job = { index, result: Promise.withResolvers<Sample>() };
    this.#waiting.push(job);
    this.#assign();
    return job.result.promise;
  }

  #assign(): void {
    while (this.#waiting.length > 0) {
      const free = this.#members.reduce((a, b) => b.jobs.size < a.jobs.size ? b : a);
      if (free.jobs.size >= JOBS_PER_WORKER) return;
      const id = this.#nextId++, job = this.#waiting.shift()!;
      free.jobs.set(id, job);
      send(free.worker, { kind: "sample", id, index: job.index });
    }
  }

  #receive(member: Member, reply: WorkerReply): void {
    if (reply.kind === "stopped") return member.stopped.resolve();
    const job = member.jobs.get(reply.id);
    member.jobs.delete(reply.id);
    if (reply.kind === "sample") job?.result.resolve(reply.sample);
    else job?.result.reject(revived(reply.name, reply.message));
    this.#assign();
  }

  /** Everything that was asked for, and all that will be, fails with this. */
  #fail(error: Error): void {
    this.#failure ??= error;
    const jobs = [
      ...this.#waiting.splice(0),
      ...this.#members.flatMap((m) => [...m.jobs.values()]),
    ];
    for (const member of this.#members) member.jobs.clear();
    for (const job of jobs) job.result.reject(this.#failure);
  }

  /** Lets each worker finish what it is decoding, since native code runs in it, and ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail(new GlimpseError("The workers that load samples were stopped."));
    await Promise.all(this.#members.map(async ({ worker, stopped }) => {
      send(worker, { kind: "stop" });
      await stopped.promise;
      worker.terminate();
    }));
  }
}

function send(worker: Worker, request: WorkerRequest): void {
  worker.postMessage(request);
}

/** An error that crossed from a worker, in its class. */
function revived(name: string, message: string): Error {
  if (name === "DataError") return new DataError(message);
  if (name === "FormatError") return new FormatError(message);
  return new GlimpseError(name === "GlimpseError" ? message : `${name}: ${message}`);
}
