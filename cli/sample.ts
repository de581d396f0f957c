/** `deno task sample`: makes a small folder to try everything on. */

import { makeSampleFolder } from "../data/sample_folder.ts";
import { UsageError } from "../kernels/runtime/errors.ts";
import { flag, integer, path, positional } from "./option_kinds.ts";
import { parseOptions } from "./options.ts";

const LANGUAGE = "Language model";
const VISION = "Vision tower";
const DATA = "Data";

/** The options of `sample`. */
export const options = {
  dir: positional(path({ help: "The folder to make. Its parts lie as in MiniMind-V's." })),
  seed: integer({ help: "Where all random numbers start.", section: DATA, default: 42, min: 0 }),
  rows: integer({ help: "Captioned pictures to train with.", section: DATA, default: 64, min: 1 }),
  eval_pictures: integer({
    help: "Pictures to look at afterwards.",
    section: DATA,
    default: 4,
    min: 0,
  }),
  hidden_size: integer({ help: "Width.", section: LANGUAGE, default: 64, min: 8 }),
  num_hidden_layers: integer({ help: "Blocks.", section: LANGUAGE, default: 2, min: 1 }),
  vision_hidden_size: integer({
    help: "Width, a multiple of 64.",
    section: VISION,
    default: 64,
    min: 64,
  }),
  vision_num_hidden_layers: integer({ help: "Blocks.", section: VISION, default: 2, min: 1 }),
  force: flag({ help: "Write over files that are there." }),
};

/** Makes the folder and says what it holds. */
export async function run(args: readonly string[]): Promise<number> {
  const given = parseOptions(options, args);
  if (given.vision_hidden_size % 64 !== 0) {
    throw new UsageError(
      `--vision_hidden_size must be a multiple of 64, but is ${given.vision_hidden_size}.`,
    );
  }
  const sizes = {
    seed: given.seed,
    rows: given.rows,
    evalPictures: given.eval_pictures,
    hiddenSize: given.hidden_size,
    layers: given.num_hidden_layers,
    visionHiddenSize: given.vision_hidden_size,
    visionLayers: given.vision_num_hidden_layers,
  };
  const { files, written } = await makeSampleFolder(given.dir, sizes, given.force);
  if (written) {
    console.log(
      `Made ${given.dir}: ${files.length} files, with ${given.rows} captioned pictures and ` +
        `random weights of width ${given.hidden_size}.`,
    );
  } else {
    console.log(`All ${files.length} files of the sample are in ${given.dir} already.`);
  }
  return 0;
}
