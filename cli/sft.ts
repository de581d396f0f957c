/** `deno task sft`: trains projection and language model on dialogues about pictures. */

import type { Command } from "./program.ts";
import { trainCommand } from "./train_command.ts";
import { SFT } from "./train_presets.ts";

export const { options, run }: Command = trainCommand(SFT);
