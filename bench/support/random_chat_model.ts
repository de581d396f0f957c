import type { Gpu } from "../../kernels/runtime/gpu.ts";
import type { Precision } from "../../kernels/runtime/precision.ts";
import { bpeTokenizerFiles } from "../../model/byte_tokenizer.ts";
import type { ChatModel } from "../../model/chat_model.ts";
import { ChatTemplate } from "../../model/chat_template.ts";
import { ImageProcessor } from "../../model/image_processor.ts";
import { Tokenizer } from "../../model/tokenizer.ts";
import { randomVlm, type Workload } from "./workload.ts";

/** A model of random weights (`float32`, `float16`, `q8`) with a token for each of its rows: bytes, and pairs of letters. */
export function randomChatModel(
  gpu: Gpu,
  size: Pick<Workload, "hiddenSize" | "layers">,
  weights: string,
): ChatModel {
  const q8 = weights === "q8";
  const vlm = randomVlm(gpu, { ...size, stage: "decode", moe: false }, {
    precision: q8 ? "float32" : weights as Precision,
    quantization: q8 ? "q8" : undefined,
  });
  const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
  const pairs = letters.flatMap((a) => letters.map((b): [string, string] => [a, b]));
  const bytes = 259;
  const { tokenizer, config } = bpeTokenizerFiles(
    pairs.slice(0, vlm.config.language.vocab_size - bytes),
  );
  return {
    vlm,
    tokenizer: new Tokenizer(tokenizer, config),
    template: ChatTemplate.fromConfig(config),
    processor: new ImageProcessor(),
    [Symbol.dispose]: () => vlm[Symbol.dispose](),
  };
}
