import { encodePng } from "../data/png.ts";
import type { Sample } from "../model/batch.ts";
import { Decoder } from "../model/decoder.ts";
import { Random } from "../model/random.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { Vlm } from "../model/vlm.ts";
import type { ReportSample } from "./report.ts";

const MOST_TOKENS = 64;

/** Lets a model answer the first question of a sample, greedily. */
export async function answer(
  vlm: Vlm,
  tokenizer: Tokenizer,
  sample: Sample,
  step: number,
): Promise<ReportSample | undefined> {
  const start = sample.mask.indexOf(1);
  if (start < 1) return undefined;
  const end = sample.ids.indexOf(tokenizer.eosId, start);
  const expected = sample.ids.slice(start, end < 0 ? undefined : end);
  const ids = sample.ids.slice(0, start);
  const patches = vlm.tokensPerPicture;
  const seen = sample.pictureStarts.filter((at) => at + patches <= start);
  const imageRows = Uint32Array.from(
    seen.flatMap((at) => Array.from({ length: patches }, (_, i) => at + i)),
  );
  const pictures = new Uint8Array(
    await new Blob(sample.pictures.slice(0, seen.length)).arrayBuffer(),
  );
  using decoder = new Decoder(vlm, ids.length + MOST_TOKENS);
  {
    using _scope = vlm.gpu.scope();
    const features = seen.length > 0 ? vlm.encodePictures(pictures, seen.length) : undefined;
    decoder.read({ ids, imageRows, pictureCount: seen.length }, features);
  }
  const options = {
    maxNewTokens: MOST_TOKENS,
    temperature: 0,
    stopIds: [tokenizer.eosId],
    random: new Random(0),
  };
  const said = await Array.fromAsync(decoder.generate(options));
  const text = (tokens: Iterable<number>) =>
    tokenizer.decode([...tokens], { skipSpecialTokens: true });
  const spoken = [...ids].filter((_, i) => !imageRows.includes(i));
  const picture = sample.pictures[0];
  return {
    step,
    prompt: text(spoken),
    answer: text(said),
    expected: text(expected),
    ...picture && vlm.config.vision && {
      picture: { bytes: await encodePng(picture, vlm.config.vision.image_size), type: "image/png" },
    },
  };
}
