import { GlimpseError } from "../kernels/runtime/errors.ts";
import { type HostTensor, readChecked } from "./host_tensor.ts";
import { pickleContent, type PthContent } from "./pickle_writer.ts";
import { zipChunks, type ZipContent } from "./zip_writer.ts";

export type { PthContent } from "./pickle_writer.ts";

/**
 * Writes a `.pth` file piece by piece, one tensor in memory at a time, that `torch.load`, also
 * with `weights_only=True`, takes as an OrderedDict of tensors.
 *
 * @param archiveName The folder within the archive; torch.save takes the file's name without
 * `.pth`.
 * @param shares Further names for tensors that are written, such as
 * `lm_head.weight → model.embed_tokens.weight`; both names share one storage.
 * @example
 * ```ts
 * await writeFileAtomic("out/vlm_512.pth", pthChunks(tensors, "vlm_512"));
 * ```
 * @throws {GlimpseError} if a name occurs twice or shares a tensor that is not there.
 */
export async function* pthChunks(
  tensors: Iterable<HostTensor>,
  archiveName: string,
  shares: ReadonlyMap<string, string> = new Map(),
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const state = new Map<string, HostTensor>();
  const add = (name: string, tensor: HostTensor) => {
    if (state.has(name)) throw new GlimpseError(`Two tensors to be written have the name ${name}.`);
    state.set(name, tensor);
  };
  for (const tensor of tensors) add(tensor.name, tensor);
  for (const [name, owner] of shares) {
    const tensor = state.get(owner);
    if (!tensor) throw new GlimpseError(`${name} shares ${owner}, which is not to be written.`);
    add(name, tensor);
  }
  yield* archiveChunks(state, archiveName, true);
}

/**
 * Writes any nesting of dictionaries, lists, numbers, texts, booleans, null and tensors, such as a
 * checkpoint to resume from, so that `torch.load(weights_only=True)` takes it. A tensor that occurs
 * more than once, as the same object, is written once and shared.
 *
 * @param archiveName The folder within the archive.
 */
export async function* pthValueChunks(
  value: PthContent,
  archiveName: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield* archiveChunks(value, archiveName, false);
}

async function* archiveChunks(
  value: PthContent,
  archiveName: string,
  ordered: boolean,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { bytes, storages } = pickleContent(value, ordered);
  const file = (name: string, content: Uint8Array<ArrayBuffer>): ZipContent => ({
    name: `${archiveName}/${name}`,
    read: () => Promise.resolve(content),
  });
  const text = new TextEncoder();
  yield* zipChunks([
    file("data.pkl", bytes),
    file("byteorder", text.encode("little")),
    ...storages.map((tensor, key) => ({
      name: `${archiveName}/data/${key}`,
      read: () => readChecked(tensor),
    })),
    file("version", text.encode("3\n")),
  ]);
}
