/**
 * The smallest byte-level tokenizer: three special tokens and the 256 bytes.
 *
 * It is what a model trains with when there is no tokenizer file, and needs no download. Its ids are
 * the first 259 of MiniMind's own tokenizer, so a picture's placeholder `@` is 34 in both.
 */

/** The parsed `tokenizer.json` and `tokenizer_config.json` of a tokenizer. */
export interface TokenizerFiles {
  /** What `tokenizer.json` holds. */
  tokenizer: Record<string, unknown>;
  /** What `tokenizer_config.json` holds, the chat template included. */
  config: Record<string, unknown>;
}

/**
 * The printable character that stands for each byte in a byte-level vocabulary: Latin-1's visible
 * characters for themselves, and U+0100 onward for the other 68 bytes in order.
 *
 * Source: `bytes_to_unicode` of GPT-2's encoder (Radford et al., 2019).
 *
 * @returns 256 strings of one character, by byte
 */
export function byteAlphabet(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const visible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(visible ? byte : next++);
  });
}

const SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/** ChatML with a default system turn, as MiniMind's own template without its tools. */
const CHAT_TEMPLATE = `{%- if messages[0].role != 'system' -%}
    {{- '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}`;

/**
 * The files of the byte tokenizer: vocabulary 259, no merges; padding 0, begin 1, end 2.
 *
 * @returns fresh objects, in the form of Hugging Face's files
 * @example
 * ```ts
 * import { byteTokenizer, Tokenizer } from "@glimpse/vlm";
 *
 * const { tokenizer, config } = byteTokenizer();
 * new Tokenizer(tokenizer, config).encode("@"); // [34]
 * ```
 */
export function byteTokenizer(): TokenizerFiles {
  return bpeTokenizerFiles([]);
}

/**
 * The files of a tokenizer that joins bytes: the byte tokenizer's ids, then one id a merge.
 *
 * @param merges Pairs of tokens in the byte alphabet, each of bytes or of what earlier pairs became.
 * @returns fresh objects, in the form of Hugging Face's files
 */
export function bpeTokenizerFiles(merges: readonly [string, string][]): TokenizerFiles {
  const joined = merges.map(([left, right]) => left + right);
  const tokens = [...SPECIAL_TOKENS, ...byteAlphabet().sort(), ...joined];
  const added = SPECIAL_TOKENS.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: { ...byteLevel, trim_offsets: true },
      post_processor: null,
      decoder: { ...byteLevel, trim_offsets: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges,
      },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<|im_start|>",
      eos_token: "<|im_end|>",
      pad_token: "<|endoftext|>",
      unk_token: "<|endoftext|>",
      clean_up_tokenization_spaces: false,
      model_max_length: 32768,
      chat_template: CHAT_TEMPLATE,
    },
  };
}
