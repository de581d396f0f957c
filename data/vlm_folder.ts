import { join } from "@std/path";
import type { Gpu } from "../kernels/runtime/gpu.ts";
import type { ChatModel } from "../model/chat_model.ts";
import { type ChatSource, readChatModel } from "../model/load_chat_model.ts";
import { DISK } from "./disk.ts";
import { modelFolder } from "./model_folder.ts";

export type { ChatModel, ChatSource };

/**
 * Where a model is in a folder laid out as MiniMind-V's.
 *
 * @param root The folder.
 * @param name Its weights without their ending, `sft_vlm_512` for `out/sft_vlm_512.pth`.
 */
export function chatSource(root: string, name: string): ChatSource {
  const { out, tokenizer, vision } = modelFolder(root);
  return { weights: join(out, `${name}.pth`), tokenizer, vision };
}

/**
 * Loads a model to talk to from files.
 *
 * @throws {FormatError} when its weights have no projection, or do not fit.
 */
export async function loadChatModel(gpu: Gpu, source: ChatSource): Promise<ChatModel> {
  return await readChatModel(DISK, gpu, source);
}
