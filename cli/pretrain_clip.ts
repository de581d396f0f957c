/** `deno task pretrain-clip`: trains a vision tower and a text tower on pictures with captions. */

import type { Command } from "./program.ts";
import { trainCommand } from "./train_command.ts";
import { PRETRAIN_CLIP } from "./train_presets.ts";

export const { options, run }: Command = trainCommand(PRETRAIN_CLIP);
