import { decodePicture } from "../data/picture.ts";
import type { Tensor } from "../kernels/runtime/tensor.ts";
import type { ChatModel } from "../model/chat_model.ts";
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
  readonly #model: ChatModel;
  readonly #maxPixels: number;
  readonly #pixels: Lru<Picture>;
  readonly #features: Lru<Tensor>;
  #decoding: Promise<unknown> = Promise.resolve();

  /** A store for a model. */
  constructor(model: ChatModel, { maxPixels, pictureBytes }: PictureStoreOptions) {
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

  /** A picture's features, for the caller to dispose of. */
  see({ key, pixels }: Picture): Tensor {
    const { vlm } = this.#model;
    const known = this.#features.get(key);
    if (known) return known.retain();
    using scope = vlm.gpu.scope();
    const features = scope.release(vlm.encodePictures(new Uint8Array(pixels), 1));
    this.#features.set(key, features.retain());
    return features;
  }

  /** Forgets all, and frees the memory. */
  [Symbol.dispose](): void {
    this.#pixels.clear();
    this.#features.clear();
  }
}
