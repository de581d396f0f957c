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

/** The group of a CLIP model's parameters that do not decay: norms, biases, the class token, the temperature. */
export const UNDECAYED = "undecayed";

/** The group in which a parameter of a CLIP model trains, or nothing when it is frozen with the vision tower. */
export function clipTrainPolicy(freezeVision: boolean): TrainPolicy {
  return ({ name, parts }) => {
    if (freezeVision && name.startsWith("vision_model.")) return undefined;
    return parts[0]!.shape.length < 2 ? UNDECAYED : "decayed";
  };
}
