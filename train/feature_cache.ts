import { packHalf, unpackHalf } from "../kernels/pack_half.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { type Batch, joined } from "../model/batch.ts";
import type { Vlm } from "../model/vlm.ts";
import { FeatureStore } from "./feature_store.ts";

/** What gives the features of a batch's pictures. */
export interface PictureEncoder {
  /** Features [count · patches, vision width], which belong to the caller; nothing where there is no picture. */
  features(batch: Pick<Batch, "pictures" | "pictureCount">): Promise<Tensor | undefined>;
}

/** How features are kept. */
export interface FeatureCacheOptions {
  /** Whether they are rounded to half precision, be they found or new. */
  readonly half: boolean;
  /** Bytes of memory at most. */
  readonly memory: number;
  /** Folder for what the memory does not hold, of this encoder alone: see `encoderKey`. */
  readonly folder?: string | undefined;
  /** Hears once that the folder cannot be written to. */
  readonly warn: (text: string) => void;
}

/** Features that wait on the device until they are read together; for each reading it comes to its end. */
const WAITING_BYTES = 2 ** 27;

/**
 * Features of pictures that have been encoded before, found by the pictures' bytes.
 *
 * A batch gets the same bits whether its pictures are found or encoded: the encoder treats a picture alike in any
 * company, and where features are kept in half precision, new ones are rounded as well.
 */
export class FeatureCache implements PictureEncoder, Disposable {
  readonly #vlm: Vlm;
  readonly #half: boolean;
  readonly #floats: number;
  readonly #store: FeatureStore;
  #waiting: { names: string[]; tensor: Tensor }[] = [];

  /** A cache for the frozen encoder of a model. */
  constructor(vlm: Vlm, { half, ...options }: FeatureCacheOptions) {
    this.#vlm = vlm;
    this.#floats = featureFloats(vlm);
    this.#half = half && this.#floats % 2 === 0;
    this.#store = new FeatureStore({ ...options, entryBytes: this.#entryBytes });
  }

  get #entryBytes(): number {
    return (this.#half ? 2 : 4) * this.#floats;
  }

  /** Features [count · patches, vision width], which belong to the caller. Pictures that are not known are encoded together. */
  async features(
    { pictures, pictureCount: count }: Pick<Batch, "pictures" | "pictureCount">,
  ): Promise<Tensor | undefined> {
    if (count === 0) return undefined;
    const size = pictures.length / count;
    const parts = Array.from(
      { length: count },
      (_, i) => pictures.subarray(i * size, (i + 1) * size),
    );
    const names = await Promise.all(parts.map(sha256));
    const found = await Promise.all(names.map((name) => this.#store.get(name)));
    const missing = new Map<string, Uint8Array<ArrayBuffer>>();
    names.forEach((name, i) => found[i] ?? missing.set(name, parts[i]!));
    if (this.#waitingBytes >= WAITING_BYTES) await this.flush();
    const { gpu } = this.#vlm;
    using scope = gpu.scope();
    const fresh = missing.size === count ? pictures : joined([...missing.values()]);
    const encoded = missing.size > 0 ? this.#encode(fresh, [...missing.keys()]) : undefined;
    const kept = encoded && missing.size === count ? encoded : this.#join(names, found, encoded);
    const width = this.#vlm.featureWidth;
    const shape = [count * this.#floats / width, width];
    return scope.release(this.#half ? unpackHalf(kept, shape) : kept.view(shape));
  }

  /** Reads the features that wait on the device, and keeps them. */
  async flush(): Promise<void> {
    const waiting = this.#waiting.splice(0);
    const read = await this.#vlm.gpu.readAll(waiting.map(({ tensor }) => tensor));
    for (const { tensor } of waiting) tensor.dispose();
    const bytes = this.#entryBytes;
    await Promise.all(
      waiting.flatMap(({ names }, i) =>
        names.map((name, j) => this.#store.put(name, new Uint8Array(read[i]!, j * bytes, bytes)))
      ),
    );
  }

  /** Frees what waits on the device. */
  [Symbol.dispose](): void {
    for (const { tensor } of this.#waiting.splice(0)) tensor.dispose();
  }

  get #waitingBytes(): number {
    return this.#waiting.reduce((sum, { tensor }) => sum + tensor.bytes, 0);
  }

  /** Features of pictures as they are kept, one behind the other. */
  #encode(pictures: Uint8Array<ArrayBuffer>, names: string[]): Tensor {
    const encoded = this.#vlm.encodePictures(pictures, names.length);
    const kept = this.#half ? packHalf(encoded) : encoded;
    const waiting = this.#waiting.reduce((sum, { names }) => sum + names.length, 0);
    if (this.#store.takes(waiting + names.length)) {
      const tensor = this.#vlm.gpu.detached(() => kept.view(kept.shape));
      this.#waiting.push({ names, tensor });
    }
    return kept;
  }

  /** The features of a batch as they are kept, from those found and those encoded, which follow each other. */
  #join(
    names: readonly string[],
    found: readonly (Uint8Array<ArrayBuffer> | undefined)[],
    encoded: Tensor | undefined,
  ): Tensor {
    const { gpu } = this.#vlm;
    const elements = this.#entryBytes / 4;
    const all = gpu.empty([names.length * elements], this.#half ? "uint32" : "float32", "features");
    const places = new Map<string, number>();
    names.forEach((name, i) => {
      const known = found[i];
      const place = places.get(name) ?? places.size;
      if (!known) places.set(name, place);
      const one = known
        ? gpu.tensor(known, [elements], "features")
        : encoded!.view([elements], place * elements);
      gpu.copy(one, all.view([elements], i * elements));
    });
    return all;
  }
}

/** Numbers that a picture's features are. */
export function featureFloats({ tokensPerPicture, featureWidth }: Vlm): number {
  return tokensPerPicture * featureWidth;
}

/** A name for what an encoder makes of pictures: it changes with weights, constants, adapter and version. */
export async function encoderKey(vlm: Vlm, version: string): Promise<string> {
  const { gpu, config: { vision, imageMean, imageStd }, visionParameters } = vlm;
  const settings = JSON.stringify([version, gpu.info.name, vision, imageMean, imageStd]);
  let digest = await sha256(new TextEncoder().encode(settings));
  for (const { name } of visionParameters.specs) {
    const weights = await sha256(new Uint8Array(await gpu.readBytes(visionParameters.get(name))));
    digest = await sha256(new TextEncoder().encode(`${digest} ${name} ${weights}`));
  }
  return digest;
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
