import type { ChatModel } from "../../data/vlm_folder.ts";
import type { Gpu } from "../../kernels/runtime/gpu.ts";
import { byteTokenizer } from "../../model/byte_tokenizer.ts";
import { ChatTemplate } from "../../model/chat_template.ts";
import { clipVisionConfig, miniMindConfig } from "../../model/config.ts";
import { ImageProcessor } from "../../model/image_processor.ts";
import { Random } from "../../model/random.ts";
import { Tokenizer } from "../../model/tokenizer.ts";
import { Vlm } from "../../model/vlm.ts";

/** A model of random weights that reads bytes and sees pictures of 32 × 32 pixels as 4 tokens. */
export function tinyChatModel(gpu: Gpu): ChatModel {
  const processor = new ImageProcessor({ size: 32, crop_size: 32 });
  const vlm = new Vlm(gpu, {
    language: miniMindConfig({
      hidden_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      vocab_size: 259,
      max_position_embeddings: 1024,
    }),
    vision: clipVisionConfig({
      hidden_size: 32,
      intermediate_size: 64,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      image_size: 32,
      patch_size: 16,
    }),
    imageMean: processor.mean,
    imageStd: processor.std,
  });
  const random = new Random(3);
  vlm.parameters.initialize(random);
  vlm.visionParameters.initialize(random);
  const { tokenizer, config } = byteTokenizer();
  return {
    vlm,
    tokenizer: new Tokenizer(tokenizer, config),
    template: ChatTemplate.fromConfig(config),
    processor,
    [Symbol.dispose]: () => vlm[Symbol.dispose](),
  };
}
