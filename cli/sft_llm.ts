/** `deno task sft-llm`: trains the language model on conversations. */

import type { Command } from "./program.ts";
import { trainCommand } from "./train_command.ts";
import { SFT_LLM } from "./train_presets.ts";

export const { options, run }: Command = trainCommand(SFT_LLM);
