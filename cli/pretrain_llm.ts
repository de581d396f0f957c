/** `deno task pretrain-llm`: trains the language model itself, on text. */

import type { Command } from "./program.ts";
import { trainCommand } from "./train_command.ts";
import { PRETRAIN_LLM } from "./train_presets.ts";

export const { options, run }: Command = trainCommand(PRETRAIN_LLM);
