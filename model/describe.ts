import { UsageError } from "../kernels/runtime/errors.ts";
import type { ChatModel } from "./chat_model.ts";
import { Decoder, type GenerateOptions } from "./decoder.ts";
import { encodePrompt } from "./prompt.ts";
import { Random } from "./random.ts";
import type { Image } from "./resample.ts";
import { TokenStream } from "./tokenizer.ts";

/** Tokens of an answer at most, unless told otherwise. */
const MOST_TOKENS = 512;

/**
 * Answers a question about pictures, piece by piece. The likeliest token is taken each time, and the
 * answer ends with the model's own end or after 512 tokens, unless told otherwise.
 *
 * @param pictures One picture or several; none for a question without any.
 * @param question `<image>` stands where a picture goes, and before the question unless it says so.
 * A single picture takes all the places.
 * @throws {UsageError} when there are not as many places as pictures, or an option does not fit.
 *
 * ```ts ignore
 * for await (const piece of describe(model, picture, "What is this?")) print(piece);
 * ```
 */
export async function* describe(
  { vlm, tokenizer, template, processor }: ChatModel,
  pictures: Image | readonly Image[],
  question: string,
  options: Partial<GenerateOptions> = {},
): AsyncGenerator<string, void, void> {
  const given: readonly Image[] = "data" in pictures ? [pictures] : pictures;
  const content = question.includes("<image>") ? question : "<image>\n\n".repeat(given.length) +
    question;
  const messages = [{ role: "user", content }];
  const prompt = encodePrompt(tokenizer, template, messages, vlm.tokensPerPicture);
  const count = prompt.pictureCount;
  if (count !== given.length && given.length !== 1) {
    throw new UsageError(
      `The question has ${count} places for pictures (<image>), but ${given.length} pictures were given.`,
    );
  }
  const pixels = given.map((picture) => processor.process(picture));
  const bytes = new Uint8Array(count * (pixels[0]?.length ?? 0));
  for (let i = 0; i < count; i++) {
    const one = pixels[i] ?? pixels[0]!;
    bytes.set(one, i * one.length);
  }
  const chosen = {
    maxNewTokens: MOST_TOKENS,
    temperature: 0,
    stopIds: [tokenizer.eosId],
    random: new Random(0),
    ...options,
  };
  if (!(chosen.maxNewTokens >= 0)) {
    throw new UsageError(`maxNewTokens is ${chosen.maxNewTokens}; it must be 0 or above.`);
  }
  using decoder = new Decoder(vlm, prompt.ids.length + chosen.maxNewTokens);
  {
    using _scope = vlm.gpu.scope();
    decoder.read(prompt, count > 0 ? vlm.encodePictures(bytes, count) : undefined);
  }
  const stream = new TokenStream(tokenizer, { skipSpecialTokens: true });
  for await (const id of decoder.generate(chosen)) {
    const piece = stream.push(id);
    if (piece !== "") yield piece;
  }
  const rest = stream.flush();
  if (rest !== "") yield rest;
}
