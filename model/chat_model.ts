import type { ChatTemplate } from "./chat_template.ts";
import type { ImageProcessor } from "./image_processor.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Vlm } from "./vlm.ts";

/** A model with all that talking to it needs. */
export interface ChatModel extends Disposable {
  /** The model. */
  readonly vlm: Vlm;
  /** Its tokenizer. */
  readonly tokenizer: Tokenizer;
  /** Its chat template. */
  readonly template: ChatTemplate;
  /** Prepares pictures. */
  readonly processor: ImageProcessor;
}
