import { dirname, join } from "@std/path";
import { GlimpseError } from "../kernels/runtime/errors.ts";
import type { OpenWeights } from "../model/model_files.ts";
import { readWeights, WEIGHT_NAMES } from "../model/read_weights.ts";
import { type OpenFile, openFile } from "./files.ts";

export type { OpenWeights };

/**
 * Opens weights: a `.pth`, `.bin` or safetensors file or the index of a split one, told apart by
 * content; or a folder that holds `model.safetensors`, its index, or `pytorch_model.bin`, taken in
 * this order. Tensors are read when asked.
 *
 * @example
 * ```ts
 * await using weights = await openWeights("model/vision_model/clip-vit-base-patch16");
 * ```
 * @throws {GlimpseError} if there is no such file or folder, or nothing in it.
 * @throws {FormatError} if the file is truncated, corrupt, unsafe or of another kind.
 */
export async function openWeights(path: string): Promise<OpenWeights> {
  await using opened = new AsyncDisposableStack();
  const open = async (file: string): Promise<OpenFile> => opened.use(await openFile(file));
  const found = await findWeights(path);
  const weights = await readWeights(
    await open(found),
    (file) => open(join(dirname(found), file)),
  );
  const kept = opened.move();
  return { ...weights, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/**
 * The file that weights are opened by: the path itself, or the best in a folder.
 *
 * @throws {GlimpseError} if there is no such path, or no weights in a folder.
 */
export async function findWeights(path: string): Promise<string> {
  const isFolder = await Deno.stat(path).then((info) => info.isDirectory, async (error) => {
    if (error instanceof Deno.errors.NotFound) throw await missing(path);
    return false;
  });
  if (!isFolder) return path;
  for (const name of WEIGHT_NAMES) {
    const candidate = join(path, name);
    if (await Deno.stat(candidate).then((info) => info.isFile, () => false)) return candidate;
  }
  throw new GlimpseError(`There are no weights in ${path}: looked for ${WEIGHT_NAMES.join(", ")}.`);
}

/** What to say of weights that are not there: which ones are. */
async function missing(path: string): Promise<GlimpseError> {
  const folder = dirname(path);
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name).catch(() => []);
  const weights = names.filter((name) => /^[^.].*\.(pth|bin|safetensors)$/.test(name)).sort();
  return new GlimpseError(
    `Cannot open ${path}: it does not exist, ${
      weights.length > 0
        ? `but beside it there is ${weights.join(", ")}.`
        : `and ${folder} has no weights at all; \`deno task fetch\` lists what can be fetched.`
    }`,
  );
}
