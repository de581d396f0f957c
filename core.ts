/**
 * What of Glimpse runs anywhere with WebGPU, in browsers too: kernels, models, the training step. Files, processes and
 * servers are left to `mod.ts`.
 *
 * @module
 */

export * from "./kernels/runtime/errors.ts";
export type { AdapterInfo } from "./kernels/runtime/adapter.ts";
export type { Compiling } from "./kernels/runtime/compile.ts";
export { type DeviceCounts, Gpu, type PendingRead } from "./kernels/runtime/gpu.ts";
export type { MadeCounts } from "./kernels/runtime/pipelines.ts";
export type { HostArray } from "./kernels/runtime/transfer.ts";
export { type Binding, f32, type Kernel, type Workgroups } from "./kernels/runtime/kernel.ts";
export type { MemoryUse, Storage } from "./kernels/runtime/memory.ts";
export { DeviceClock, type Span } from "./kernels/runtime/device_clock.ts";
export { formatProfile, type KernelTime, Profiler } from "./kernels/runtime/profiler.ts";
export type { HalfDtype, Precision } from "./kernels/runtime/precision.ts";
export { Scope } from "./kernels/runtime/scope.ts";
export { type AddInto, type Backward, Tape } from "./kernels/runtime/tape.ts";
export { type Dtype, Tensor } from "./kernels/runtime/tensor.ts";

export { type Activation, activation } from "./kernels/activation.ts";
export * from "./kernels/attention.ts";
export * from "./kernels/checkpoint.ts";
export * from "./kernels/contrastive.ts";
export * from "./kernels/cross_entropy.ts";
export * from "./kernels/elementwise.ts";
export * from "./kernels/embedding.ts";
export * from "./kernels/experts.ts";
export * from "./kernels/kv_cache.ts";
export * from "./kernels/half.ts";
export * from "./kernels/layer_norm.ts";
export * from "./kernels/matmul.ts";
export type { GroupedShape } from "./kernels/experts/problem.ts";
export {
  type Kernels,
  parseTuning,
  type ProductShape,
  type Tuning,
  tuningOf,
  useTuning,
} from "./kernels/matmul/choose.ts";
export * from "./kernels/matmul/tune.ts";
export * from "./kernels/measure.ts";
export * from "./kernels/normalize_rows.ts";
export * from "./kernels/optimizer.ts";
export * from "./kernels/pack_half.ts";
export * from "./kernels/patches.ts";
export * from "./kernels/reduce.ts";
export * from "./kernels/rms_norm.ts";
export * from "./kernels/rope.ts";
export * from "./kernels/rows.ts";
export * from "./kernels/sample_tokens.ts";
export * from "./kernels/sequences.ts";
export * from "./kernels/softmax.ts";
export * from "./kernels/swiglu.ts";
export * from "./kernels/token_counts.ts";

export { type Batch, packPairs, packSamples, type Sample } from "./model/batch.ts";
export {
  BatchDecoder,
  type DrawnToken,
  type JoinRequest,
  type Progress,
  type PromptPicture,
  Sequence,
  type SequenceOptions,
  type TokenLogprob,
} from "./model/batch_decoder.ts";
export { byteTokenizer, type TokenizerFiles } from "./model/byte_tokenizer.ts";
export { blobSource, type ByteSource, bytesSource } from "./model/bytes.ts";
export { type ChatMessage, ChatTemplate, type ChatTemplateOptions } from "./model/chat_template.ts";
export type { ChatModel } from "./model/chat_model.ts";
export { type ChatSource, readChatModel } from "./model/load_chat_model.ts";
export {
  type ClipPlan,
  type ClipSizes,
  type ClipSource,
  type LoadedClip,
  planClip,
  readClip,
} from "./model/load_clip.ts";
export { readVlm, type VlmSource } from "./model/load_vlm.ts";
export * from "./model/model_files.ts";
export { fetchChatModel, WEB } from "./model/web_files.ts";
export { Clip, type ClipOptions, clipSpecs } from "./model/clip.ts";
export * from "./model/clip_config.ts";
export { ClipText, clipTextSpecs } from "./model/clip_text.ts";
export { ClipVision, clipVisionSpecs } from "./model/clip_vision.ts";
export * from "./model/config.ts";
export { describe } from "./model/describe.ts";
export { embedPicture } from "./model/embed_picture.ts";
export { Decoder, type GenerateOptions } from "./model/decoder.ts";
export { fromFloat32, type HostDtype, type HostTensor, toFloat32 } from "./model/host_tensor.ts";
export { clipPreprocessor, ImageProcessor } from "./model/image_processor.ts";
export { inferMiniMindConfig } from "./model/infer_config.ts";
export { type MatchOptions, matchWeights } from "./model/load_weights.ts";
export {
  type ConversationOptions,
  encodeConversation,
  type EncodedConversation,
} from "./model/loss_mask.ts";
export { bleu4, type BleuCounts, bleuCounts } from "./model/metrics/bleu.ts";
export { difference, type Interval, interval, type Measure } from "./model/metrics/bootstrap.ts";
export { captionTokens } from "./model/metrics/caption_tokens.ts";
export { type Captioned, cider } from "./model/metrics/cider.ts";
export { rougeL } from "./model/metrics/rouge_l.ts";
export { vqaAccuracy, vqaAnswer } from "./model/metrics/vqa.ts";
export type { Balance } from "./model/feed_forward.ts";
export { type CachedRows, MiniMind, miniMindSpecs } from "./model/minimind.ts";
export * from "./model/parameters.ts";
export {
  encodePrompt,
  PICTURE,
  type PicturePlace,
  type Prompt,
  type Turn,
} from "./model/prompt.ts";
export { pthChunks, type PthContent, pthValueChunks } from "./model/pth_writer.ts";
export { Random, type RandomState } from "./model/random.ts";
export { readWeights } from "./model/read_weights.ts";
export { type Box, type Filter, type Image, resample } from "./model/resample.ts";
export { readSafetensors, safetensorsChunks } from "./model/safetensors.ts";
export { argmax, probabilities, sample, type SamplingOptions } from "./model/sampling.ts";
export {
  type DecodeOptions,
  type EncodeOptions,
  Tokenizer,
  TokenStream,
} from "./model/tokenizer.ts";
export type { BatchCounts, Trainable } from "./model/trainable.ts";
export { projectionSpecs, type TrainPolicy, Vlm, type VlmConfig } from "./model/vlm.ts";
export type { WeightFile } from "./model/weight_file.ts";

export type { Communicator, Summable } from "./train/communicator.ts";
export { clipTrainPolicy, type Freeze, trainPolicy, UNDECAYED } from "./train/freeze.ts";
export type { StepMetrics } from "./train/metrics.ts";
export {
  AdamW,
  type AdamWOptions,
  type Moments,
  type NamedTensor,
  type UpdateOutcome,
} from "./train/optimizer.ts";
export { learningRate } from "./train/schedule.ts";
export { type PlacedBatch, Trainer, type TrainerOptions, type Update } from "./train/trainer.ts";
