import { tilesOf } from "../kernels/experts/groups.ts";
import type { GroupedShape } from "../kernels/experts/problem.ts";
import type { ProductShape } from "../kernels/matmul/choose.ts";
import type { Layout } from "../kernels/matmul/problem.ts";
import type { Precision } from "../kernels/runtime/precision.ts";
import { PICTURES } from "./clip_vision.ts";
import { type MiniMindConfig, patchCount, pictureTokens } from "./config.ts";
import type { VlmConfig } from "./vlm.ts";

/** What passes a model at once. */
export interface Workload {
  /** Tokens of all sequences. */
  readonly tokens: number;
  /** Tokens whose next one is to be predicted. */
  readonly labels: number;
  /** Pictures. */
  readonly pictures: number;
  /** What trains: nothing, the projection alone, or the language model too. */
  readonly trains: "nothing" | "projection" | "all";
  /** To what operands are rounded. */
  readonly precision: Precision;
}

/**
 * The matrix products of a step of training, or of inference where nothing trains, each shape once. Those of the experts
 * themselves are not among them, see `expertShapes`.
 */
export function productShapes(
  { language, vision }: Pick<VlmConfig, "language" | "vision">,
  { tokens, labels, pictures, trains, precision }: Workload,
): ProductShape[] {
  const shapes = new Map<string, ProductShape>();
  const add = (layout: Layout, m: number, n: number, k: number) => {
    if (m * n * k > 0) shapes.set(`${layout}/${m}/${n}/${k}`, { layout, m, n, k, precision });
  };
  /** A layer's output, its input's gradient and its weight's. */
  const layer = (rows: number, outer: number, inner: number, input: boolean, weight: boolean) => {
    add("NT", rows, outer, inner);
    if (input) add("NN", rows, inner, outer);
    if (weight) add("TN", outer, inner, rows);
  };
  if (vision && pictures > 0) {
    const { hidden_size: width, intermediate_size: inner, patch_size: patch } = vision;
    layer(PICTURES * patchCount(vision), width, 3 * patch ** 2, false, false);
    const rows = PICTURES * (patchCount(vision) + 1);
    for (
      const [outer, inputs] of [[3 * width, width], [width, width], [inner, width], [width, inner]]
    ) {
      layer(rows, outer!, inputs!, false, false);
    }
    const features = width * (vision.spatial_merge_size ?? 1) ** 2;
    layer(
      pictures * pictureTokens(vision),
      language.hidden_size,
      features,
      false,
      trains !== "nothing",
    );
  }
  const [input, weight] = [trains !== "nothing", trains === "all"];
  const { hidden_size: width } = language;
  const [first, ...rest] = blockLayers(language);
  layer(tokens, ...first!, input, weight);
  const depths = language.num_hidden_layers > 1 ? [tokens, labels] : [labels];
  for (const rows of depths) {
    for (const extents of rest) layer(rows, ...extents, input, weight);
  }
  layer(labels, language.vocab_size, width, input, weight);
  return [...shapes.values()];
}

/** Outputs and inputs of a block's linear layers. */
function blockLayers(config: MiniMindConfig): [number, number][] {
  const { hidden_size: width, intermediate_size: inner, num_attention_heads: heads } = config;
  const keys = width / heads * config.num_key_value_heads;
  const layers: [number, number][] = [[width + 2 * keys, width], [width, width]];
  if (!config.use_moe || config.n_shared_experts > 0) {
    layers.push([2 * inner, width], [width, inner]);
  }
  if (config.use_moe) layers.push([config.n_routed_experts, width]);
  return layers;
}

/** The products of the experts in such a step for which there are several kernels, each shape once. */
export function expertShapes(
  { language: config }: Pick<VlmConfig, "language">,
  { tokens, labels, trains, precision }: Workload,
): GroupedShape[] {
  if (!config.use_moe) return [];
  const { hidden_size: width, intermediate_size: inner, n_routed_experts: experts } = config;
  const depths = new Set(config.num_hidden_layers > 1 ? [tokens, labels] : [labels]);
  return [...depths].flatMap((count) => {
    const choices = count * config.num_experts_per_tok;
    const { tile, tiles } = tilesOf(choices, experts, {
      recorded: trains !== "nothing",
      imaged: undefined,
    });
    const rows = tile * tiles;
    if (tile < 64) return [];
    return [[2 * inner, width], [width, inner]].flatMap(([n, k]): GroupedShape[] =>
      [
        { layout: "NT", m: rows, n: n!, k: k! },
        ...trains === "nothing" ? [] : [{ layout: "NN", m: rows, n: k!, k: n! } as const],
        ...trains === "all" ? [{ layout: "TN", m: n!, n: k!, k: rows } as const] : [],
      ].map((extents) => ({ ...extents, precision, experts, tile }) as GroupedShape)
    );
  });
}
