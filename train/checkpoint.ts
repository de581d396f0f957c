import { join } from "@std/path";
import { openFile, writeFileAtomic } from "../data/files.ts";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { Tuning } from "../kernels/matmul/choose.ts";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import { ChunkedReader } from "../model/chunked_reader.ts";
import { type HostTensor, readChecked, readFinite, toFloat32 } from "../model/host_tensor.ts";
import { matchWeights } from "../model/load_weights.ts";
import { readSafetensors, safetensorsChunks } from "../model/safetensors.ts";
import type { NamedTensor } from "./optimizer.ts";

/** Where a run stands, and what it may not change when it goes on. */
export interface RunState {
  /** Version of Glimpse that wrote it. */
  readonly version: string;
  /** The command, such as `pretrain`. */
  readonly command: string;
  /** Its arguments. */
  readonly arguments: readonly string[];
  /** Epoch in progress, from 0. */
  readonly epoch: number;
  /** Batches of that epoch that are done. */
  readonly step: number;
  /** Samples of that epoch that are done, which does not depend on the size of batches. */
  readonly samples: number;
  /** Updates made. */
  readonly updates: number;
  /** Loss of the last update. */
  readonly loss: number;
  /** `running` while the run goes on, `stopped` when it was asked to end, `finished` at its end. */
  readonly state: "running" | "stopped" | "finished";
  /** When it was written, ISO 8601. */
  readonly saved_at: string;
  /** Where the weights are. */
  readonly weights: string;
  /** What must be the same when the run goes on, by name. */
  readonly fixed: Readonly<Record<string, string | number | boolean>>;
  /** The adapter, and what `tune` had found on it when the run began, if anything. */
  readonly kernels?: { readonly adapter: string; readonly tuning?: Tuning };
  /** Numbers of the trainer itself, for people: the loss scale in float16, which the tensor `optimizer` holds. */
  readonly trainer: Readonly<Record<string, number>>;
}

const FILE = /^step-(\d{8})\.safetensors$/;

/**
 * The checkpoints of a run: a folder of files, each the whole state at one step, and `meta.json`, which shows the
 * newest one's to people and is not read back.
 */
export class Checkpoints {
  /** The folder. */
  readonly folder: string;
  readonly #keep: number;
  #newest: string | undefined;

  /** Checkpoints in a folder, of which the last `keep` are kept; those of another run go with the first that is saved. */
  constructor(folder: string, keep: number) {
    this.folder = folder;
    this.#keep = keep;
  }

  /** The path of the last one that this run has saved or gone on from. */
  get newest(): string | undefined {
    return this.#newest;
  }

  /** Writes a checkpoint; the ones before stay whole until it is. */
  async save(gpu: Gpu, state: RunState, tensors: Iterable<NamedTensor>): Promise<void> {
    const name = `step-${String(state.updates).padStart(8, "0")}.safetensors`;
    const named = [...tensors];
    const reader = new ChunkedReader(gpu, named.map(([, tensor]) => tensor));
    const host = named.map(([name, { shape }], i): HostTensor => ({
      name,
      dtype: "float32",
      shape,
      read: async () => new Uint8Array(await reader.read(i)),
    }));
    const chunks = safetensorsChunks(host, { state: JSON.stringify(state) });
    await writeFileAtomic(join(this.folder, name), chunks);
    await writeFileAtomic(join(this.folder, "meta.json"), JSON.stringify(state, null, 2) + "\n");
    const files = await this.#files();
    const old = this.#newest ? files.slice(0, -this.#keep) : files.filter((file) => file !== name);
    for (const file of old) await Deno.remove(join(this.folder, file));
    this.#newest = join(this.folder, name);
  }

  /** The state of the newest checkpoint, if there is one. */
  async latest(): Promise<{ state: RunState; path: string } | undefined> {
    const file = (await this.#files()).at(-1);
    if (!file) return undefined;
    const path = join(this.folder, file);
    await using source = await openFile(path);
    const { metadata } = await readSafetensors(source);
    if (!metadata.state) throw new GlimpseError(`${path} is not a checkpoint of Glimpse.`);
    return { state: JSON.parse(metadata.state) as RunState, path };
  }

  /**
   * Reads the tensors of a checkpoint into those of a model and its optimizer, whose run goes on.
   *
   * @throws {FormatError} where they do not fit, or a number that is to be trained on is not finite.
   */
  async load(gpu: Gpu, path: string, tensors: Iterable<NamedTensor>): Promise<void> {
    await using source = await openFile(path);
    const targets = new Map(tensors);
    const shapes = new Map([...targets].map(([name, { shape }]) => [name, shape]));
    const matched = matchWeights(shapes, await readSafetensors(source), { source: path });
    for (const [name, tensor] of matched) {
      // the optimizer's own state may hold the norm of a gradient that was not finite
      const values = name === "optimizer"
        ? toFloat32(await readChecked(tensor), tensor.dtype)
        : await readFinite(tensor, path);
      gpu.write(targets.get(name)!, values);
    }
    this.#newest = path;
  }

  /** The files, oldest first. */
  async #files(): Promise<string[]> {
    try {
      const names = await Array.fromAsync(Deno.readDir(this.folder), ({ name }) => name);
      return names.filter((name) => FILE.test(name)).sort();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }
}

/**
 * Compares what a run must not change with what it was.
 *
 * @throws {GlimpseError} that names each difference.
 */
export function requireSame(before: RunState["fixed"], now: RunState["fixed"], path: string): void {
  const names = new Set([...Object.keys(before), ...Object.keys(now)]);
  const differences = [...names].filter((name) => before[name] !== now[name]).map((name) =>
    `${name} was ${before[name] ?? "not set"} and is ${now[name] ?? "not set"}`
  );
  if (differences.length > 0) {
    throw new GlimpseError(
      `This run cannot continue ${path}: ${
        differences.join("; ")
      }. Give the same again, or begin anew without --from_resume.`,
    );
  }
}
