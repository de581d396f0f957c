/**
 * Glimpse trains, evaluates and serves a small vision-language model with WGSL kernels on WebGPU.
 *
 * @module
 */

export * from "./core.ts";

export { loadClip, openClipPlan, saveClip } from "./data/clip_files.ts";
export { type OpenFile, openFile, writeFileAtomic } from "./data/files.ts";
export { type DatasetSource, type EncodedRow, VlmDataset } from "./data/dataset.ts";
export { type LoadedBatch, Loader, type LoaderOptions, type LoaderRange } from "./data/loader.ts";
export {
  loadImageProcessor,
  loadTokenizer,
  type ModelFolder,
  modelFolder,
} from "./data/model_folder.ts";
export { openWeights } from "./data/open_weights.ts";
export { decodePicture, type RgbPicture } from "./data/picture.ts";
export { loadVlm, saveVlm } from "./data/vlm_files.ts";
export type { Conversation } from "./data/question.ts";
export type { ConversationRow } from "./data/row.ts";
export type { RowIndex } from "./data/row_source.ts";
export type { ZipIndex } from "./data/zip_archive.ts";
export { chatSource, loadChatModel } from "./data/vlm_folder.ts";

export { evaluate, type EvaluationOptions, type ItemResult } from "./train/evaluation/evaluate.ts";
export { measuresOf, type NamedMeasure } from "./train/evaluation/measures.ts";
export type { SampleLoss } from "./train/evaluation/scoring.ts";
