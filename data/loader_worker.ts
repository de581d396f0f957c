/** A worker that makes samples for `sample_workers.ts`. */

import { VlmDataset } from "./dataset.ts";
import type { WorkerReply, WorkerRequest } from "./sample_workers.ts";

/** What a worker's module finds in `globalThis`. */
interface WorkerScope {
  onmessage: (event: MessageEvent<WorkerRequest>) => void;
  postMessage: (message: WorkerReply, transfer: Transferable[]) => void;
}

const scope = globalThis as unknown as WorkerScope;
let dataset: VlmDataset | undefined;
let openError: unknown;
const running = new Set<Promise<void>>();

scope.onmessage = async ({ data: request }) => {
  if (request.kind === "open") {
    try {
      dataset = VlmDataset.open(request.source);
    } catch (error) {
      openError = error;
    }
  } else if (request.kind === "sample") {
    const job = answer(request.id, request.index);
    running.add(job);
    job.then(() => running.delete(job));
  } else {
    await Promise.all(running);
    dataset?.[Symbol.dispose]();
    reply({ kind: "stopped" });
  }
};

async function answer(id: number, index: number): Promise<void> {
  try {
    if (!dataset) throw openError ?? new Error("a sample was asked for before there was data");
    const sample = await dataset.sample(index);
    const buffers = [sample.ids, sample.mask, ...sample.pictures].map(({ buffer }) => buffer);
    reply({ kind: "sample", id, sample }, buffers);
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    reply({ kind: "error", id, name, message });
  }
}

function reply(message: WorkerReply, transfer: Transferable[] = []): void {
  scope.postMessage(message, transfer);
}
