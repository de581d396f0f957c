import { decodePicture } from "../data/picture.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import { joined } from "../model/batch.ts";
import type { ChatModel } from "../model/chat_model.ts";
import { PICTURES } from "../model/clip_vision.ts";
import { Lru } from "./lru.ts";

/** A picture, resized and cropped. */
export interface Picture {
  /** Digest of the file. */
  readonly key: string;
  /** Bytes [3, size, size]. */
  readonly pixels: Uint8Array;
}

/** How much of pictures is taken and kept. */
export interface PictureStoreOptions {
  /** Pixels of a picture at most. */
  readonly maxPixels: number;
  /** Bytes of pictures, prepared and as features each, that are kept. */
  readonly pictureBytes: number;
}

/** Pictures as a model sees them; those that were seen lately are not prepared and encoded again. */
export class PictureStore implements Disposable {
  readonly #model: Pick<ChatModel, "vlm" | "processor">;
  readonly #maxPixels: number;
  readonly #pixels: Lru<Picture>;
  readonly #features: Lru<Tensor>;
  #decoding: Promise<unknown> = Promise.resolve();

  /** A store for a model. */
  constructor(
    model: Pick<ChatModel, "vlm" | "processor">,
    { maxPixels, pictureBytes }: PictureStoreOptions,
  ) {
    this.#model = model;
    this.#maxPixels = maxPixels;
    this.#pixels = new Lru(pictureBytes, ({ pixels }) => pixels.length);
    this.#features = new Lru(pictureBytes, ({ bytes }) => bytes, (tensor) => tensor.dispose());
  }

  /**
   * Decodes, resizes and crops a picture, or finds it as it was prepared before.
   *
   * @param name What errors call it.
   * @throws {DataError} when it cannot be read or has too many pixels.
   */
  async prepare(file: Uint8Array<ArrayBuffer>, name: string = "the picture"): Promise<Picture> {
    const key = new Uint8Array(await crypto.subtle.digest("SHA-256", file)).toHex();
    const known = this.#pixels.get(key);
    if (known) return known;
    // one at a time: a decoded picture may be large
    const prepare = async (): Promise<Picture> => {
      const decoded = await decodePicture(file, name, this.#maxPixels);
      const picture = { key, pixels: this.#model.processor.process(decoded) };
      this.#pixels.set(key, picture);
      return picture;
    };
    const prepared = this.#decoding.then(prepare);
    this.#decoding = prepared.catch(() => {});
    return await prepared;
  }

  /** Those of some pictures that have yet to be encoded, each once. */
  unseen(pictures: readonly Picture[]): Picture[] {
    return [...new Map(pictures.map((picture) => [picture.key, picture])).values()]
      .filter(({ key }) => !this.#features.get(key));
  }

  /** Features of each picture, for the caller to dispose of. Those that are new are encoded together. */
  see(pictures: readonly Picture[]): Tensor[] {
    const { vlm } = this.#model;
    const { gpu } = vlm;
    const seen = new Map(pictures.map(({ key }) => [key, this.#features.get(key)]));
    const fresh = this.unseen(pictures);
    using scope = gpu.scope();
    for (let i = 0; i < fresh.length; i += PICTURES) {
      const some = fresh.slice(i, i + PICTURES);
      const together = vlm.encodePictures(joined(some.map(({ pixels }) => pixels)), some.length);
      some.forEach(({ key }, j) => {
        const own = gpu.empty([vlm.tokensPerPicture, vlm.featureWidth]);
        gpu.copy(together.view(own.shape, j * own.size), own);
        seen.set(key, own);
      });
    }
    const features = pictures.map(({ key }) => seen.get(key)!.retain());
    for (const { key } of fresh) this.#features.set(key, scope.release(seen.get(key)!));
    return features;
  }

  /** Forgets all, and frees the memory. */
  [Symbol.dispose](): void {
    this.#pixels.clear();
    this.#features.clear();
  }
}
