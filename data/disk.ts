import type { ModelFiles } from "../model/model_files.ts";
import { openWeights } from "./open_weights.ts";

/** A model's files on the disk. */
export const DISK: ModelFiles = { read, openWeights, hasWeights };

async function read(path: string): Promise<Uint8Array | undefined> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (error instanceof Deno.errors.NotFound || code === "ENOTDIR") return undefined;
    throw error;
  }
}

async function hasWeights(folder: string): Promise<boolean> {
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  return names.some((name) => /\.(safetensors|bin|pth|pt)$/.test(name));
}
