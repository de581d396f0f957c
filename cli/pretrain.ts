/** `deno task pretrain`: trains the projection on pictures with captions. */

import type { Command } from "./program.ts";
import { trainCommand } from "./train_command.ts";
import { PRETRAIN } from "./train_presets.ts";

export const { options, run }: Command = trainCommand(PRETRAIN);
