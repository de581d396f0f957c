import type { TrainPolicy } from "../model/vlm.ts";

/** What `--freeze_llm` leaves to train: 0 everything but the vision tower, 1 the projector, 2 the projector with the first and the last layer. */
export type Freeze = 0 | 1 | 2;

/**
 * The parameters that train and their groups, `projector`, `language` and `vision`.
 *
 * @param freeze What is frozen.
 * @param layers Layers of the language model.
 * @param freezeVision Whether the vision tower is frozen, too.
 */
export function trainPolicy(freeze: Freeze, layers: number, freezeVision = true): TrainPolicy {
  const ends = [`model.layers.0.`, `model.layers.${layers - 1}.`];
  return ({ name }) => {
    if (name.startsWith("vision_proj.")) return "projector";
    if (name.startsWith("vision_model.")) return freezeVision ? undefined : "vision";
    if (freeze === 1) return undefined;
    if (freeze === 2 && !ends.some((end) => name.startsWith(end))) return undefined;
    return "language";
  };
}
